/** Texts that a model writes, as windows that are scored. */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { runTogether } from '../../engine/run-together.ts';
import type { TextJob } from '../../engine/text-job.ts';
import type { Stoppable } from '../../errors.ts';
import type { ScoredWindow } from './scored-windows.ts';

export interface WrittenOptions extends Stoppable {
  /** Told of tokens added to the texts. */
  readonly onTokens?: (count: number) => void;
  /** Whether a text that an EOS token ended has the first of the model's at its end. Default false. */
  readonly keepsEnd?: boolean;
}

/**
 * Texts of jobs, written in common steps, each after its prompt.
 * @throws LinnetError as `runTogether`
 */
export async function writtenWindows(
  engine: StepEngine,
  jobs: readonly TextJob[],
  { signal, onTokens, keepsEnd = false }: WrittenOptions,
): Promise<ScoredWindow[]> {
  const observer = { round: (_texts: number, _seconds: number, count: number) => onTokens?.(count) };
  const texts = await runTogether(engine, jobs, { signal, observer });
  return texts.map(({ tokens, finish }, i) => {
    const { tokens: prompt, source } = jobs[i].prompt;
    const end = keepsEnd && finish === 'eos' ? engine.model.eosIds.slice(0, 1) : [];
    const window = { tokens: Int32Array.from([...prompt, ...tokens, ...end]), scoredFrom: prompt.length };
    return source === undefined ? window : { ...window, source: Int32Array.from(source) };
  });
}
