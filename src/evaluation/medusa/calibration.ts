/**
 * Text to calibrate candidate trees on. A draft is right if it matches the model's own continuation, so the best
 * calibration text is the model's own: continuations of prompts from the user's text.
 */
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { Prompt } from '../../engine/prompt.ts';
import { LinnetError, type Watched } from '../../errors.ts';
import { Random } from '../../random.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import { writtenWindows } from '../perplexity/written-windows.ts';

export interface ContinuationOptions extends Watched {
  /** Continuations, each of a prompt of its own. */
  readonly count: number;
  /** Tokens of a prompt. */
  readonly promptLength: number;
  /** Most tokens of a continuation, before the EOS token that may end it. */
  readonly length: number;
  /** Default 0: the most probable token. */
  readonly temperature?: number;
  readonly seed?: number;
}

/**
 * Continuations of random places of tokenized documents, generated in one batch.
 * @returns prompt and continuation, of which the continuation is scored
 * @throws LinnetError `INPUT` if no document is as long as a prompt, `ABORTED` when the signal fires
 */
export async function continuations(
  engine: StepEngine,
  documents: readonly Int32Array[],
  options: ContinuationOptions,
): Promise<ScoredWindow[]> {
  const { count, promptLength, seed = 0 } = options;
  const random = new Random(seed);
  const long = documents.filter((tokens) => tokens.length >= promptLength);
  if (long.length === 0) {
    throw new LinnetError(
      'INPUT',
      `no document has the ${promptLength} tokens of a prompt; give longer text or a shorter prompt`,
    );
  }
  const prompts = Array.from({ length: count }, () => {
    const tokens = long[random.integer(long.length)];
    const start = random.integer(tokens.length - promptLength + 1);
    return { tokens: [...tokens.subarray(start, start + promptLength)] };
  });
  return await continued(engine, prompts, options);
}

/**
 * Texts that an encoder-decoder model generates for sources chosen at random, in one batch.
 * @param sources tokens of texts to read; each is cut to a prompt's length
 * @param startId the decoder's start token
 * @returns the texts read, with EOS, and those generated, of which all but the start token is scored
 * @throws LinnetError `INPUT` if there is no text, `ABORTED` when the signal fires
 */
export async function answers(
  engine: StepEngine,
  sources: readonly Int32Array[],
  { startId, ...options }: ContinuationOptions & { readonly startId: number },
): Promise<ScoredWindow[]> {
  if (sources.length === 0) throw new LinnetError('INPUT', 'there is no text to read; give at least one');
  const random = new Random(options.seed ?? 0);
  const end = engine.model.eosIds.slice(0, 1);
  const prompts = Array.from({ length: options.count }, () => {
    const tokens = sources[random.integer(sources.length)];
    return { tokens: [startId], source: [...tokens.subarray(0, options.promptLength), ...end] };
  });
  return await continued(engine, prompts, options);
}

function continued(
  engine: StepEngine,
  prompts: readonly Prompt[],
  { length, temperature = 0, seed = 0, signal, onProgress }: ContinuationOptions,
): Promise<ScoredWindow[]> {
  const jobs = prompts.map((prompt, i) => ({ prompt, maxTokens: length, sampling: { temperature, seed: seed + i } }));
  let written = 0;
  const onTokens = (grown: number): void => onProgress?.((written += grown), prompts.length * length);
  return writtenWindows(engine, jobs, { signal, onTokens, keepsEnd: true });
}

/** Every second window, and the others: trees are found on one half and compared on the other. */
export function halves<T>(windows: readonly T[]): readonly [T[], T[]] {
  return [windows.filter((_, index) => index % 2 === 0), windows.filter((_, index) => index % 2 === 1)];
}
