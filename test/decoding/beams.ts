/** Beam search over several prompts at the same time, for tests. */
import { beamMethod, type BeamMethodOptions, type Hypothesis } from '../../src/engine/search/beam-search.ts';
import { promptOf } from '../../src/engine/prompt.ts';
import { Runner } from '../../src/engine/runner.ts';
import type { TextJob } from '../../src/engine/text-job.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';

interface SearchOptions extends Pick<TextJob, 'maxTokens' | 'ignoreEos'>, Omit<BeamMethodOptions, 'onFound'> {
  /** How many hypotheses of each prompt. Default 1. */
  readonly best?: number;
  /** What encoder-decoder models read. */
  readonly sources?: readonly ArrayLike<number>[];
}

/** The best continuations of each prompt, best first. */
export async function bestBeams(
  engine: StepEngine,
  prompts: readonly ArrayLike<number>[],
  beams: number,
  { maxTokens, ignoreEos, best = 1, sources, ...options }: SearchOptions,
): Promise<(readonly Hypothesis[])[]> {
  const found: (readonly Hypothesis[])[] = [];
  const jobs = prompts.map((prompt, index) => ({
    prompt: { tokens: promptOf(engine.model, prompt), source: sources && Array.from(sources[index] ?? []) },
    maxTokens,
    ignoreEos,
    method: beamMethod(beams, {
      ...options,
      onFound: (hypotheses) => {
        found[index] = hypotheses.slice(0, best);
      },
    }),
  }));
  const texts = new Runner(engine).submitAll(jobs);
  await Promise.all(
    texts.map(async (events) => {
      for await (const event of events) if (event.type === 'end') break;
    }),
  );
  return found;
}
