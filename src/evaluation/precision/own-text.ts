/**
 * Text that a model generates itself, to compare storage types on where no text was given: it is typical of the model's
 * use, regardless of its training data, while a fixed book says little about a model that never saw one.
 */
import type { Stoppable, Watched } from '../../errors.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { promptOf } from '../../engine/prompt.ts';
import type { TextJob } from '../../engine/text-job.ts';
import { generateTogether } from '../../engine/generate.ts';
import type { EvaluationData, ScoredWindow } from '../perplexity/scored-windows.ts';

export interface OwnTextOptions extends Watched {
  /** Tokens to generate in all, about. */
  readonly tokens: number;
  /** Most tokens of one text, its first included. */
  readonly length: number;
  readonly seed?: number;
}

/** Texts that are generated in common steps: the weights are read once for all of them. */
const textsAtOnce = 8;

/** A model that ends its texts at once is asked this often. */
const mostBatches = 16;

/**
 * Samples texts at temperature 1, from the BOS token to the end of text or `length`.
 *
 * @returns a window per text, all of whose tokens but the first count; none if the model ends every text at once
 * @throws LinnetError `INPUT` for a model without a BOS token, `ABORTED` when the signal fires
 * @example
 * ```ts
 * const data = await ownText(engine, { tokens: 1024, length: 128 });
 * ```
 */
export async function ownText(engine: StepEngine, options: OwnTextOptions): Promise<EvaluationData> {
  const { tokens, length, seed = 0, signal, onProgress } = options;
  const windows: ScoredWindow[] = [];
  let generated = 0;
  const prompt = { tokens: promptOf(engine.model, []) };
  const onTokens = (grown: number): void => {
    generated += grown;
    onProgress?.(Math.min(tokens, generated), tokens);
  };
  for (let batch = 0; batch < mostBatches && generated < tokens; batch++) {
    const count = Math.min(textsAtOnce, Math.ceil((tokens - generated) / length));
    const jobs = Array.from({ length: count }, (_, index) => ({
      prompt,
      maxTokens: length - 1,
      sampling: { temperature: 1, seed: seed + batch * textsAtOnce + index },
    }));
    generated += count;
    const written = await writtenWindows(engine, jobs, { signal, onTokens });
    windows.push(...written.filter((window) => window.tokens.length > 1));
  }
  return { windows, documents: windows.length };
}

export interface WrittenOptions extends Stoppable {
  /** Told of tokens added to the texts. */
  readonly onTokens?: (count: number) => void;
  /** Whether a text that an EOS token ended has the first of the model's at its end. Default false. */
  readonly keepsEnd?: boolean;
}

/**
 * Texts of jobs, written in common steps, each after its prompt.
 * @throws LinnetError as `generateTogether`
 */
export async function writtenWindows(
  engine: StepEngine,
  jobs: readonly TextJob[],
  { signal, onTokens, keepsEnd = false }: WrittenOptions,
): Promise<ScoredWindow[]> {
  const observer = { round: (_texts: number, _seconds: number, count: number) => onTokens?.(count) };
  const texts = await generateTogether(engine, jobs, { signal, observer });
  return texts.map(({ tokens, finish }, i) => {
    const { tokens: prompt, source } = jobs[i].prompt;
    const end = keepsEnd && finish === 'eos' ? engine.model.eosIds.slice(0, 1) : [];
    const window = { tokens: Int32Array.from([...prompt, ...tokens, ...end]), scoredFrom: prompt.length };
    return source === undefined ? window : { ...window, source: Int32Array.from(source) };
  });
}
