/**
 * Text to calibrate candidate trees on. A draft is right if it is what the model would have written, so the best
 * calibration text is the model's own: continuations of prompts from the user's text.
 */
import { chain } from '../../attention/tree.ts';
import type { StepEngine, StepRequest } from '../../decoding/step-engine.ts';
import { Sampler } from '../../decoding/sampler.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { LinnetError } from '../../errors.ts';
import { Random } from '../../random.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';

export interface ContinuationOptions {
  /** Continuations, each of a prompt of its own. */
  readonly count: number;
  /** Tokens of a prompt. */
  readonly promptLength: number;
  /** Tokens of a continuation; an EOS token ends it before. */
  readonly length: number;
  /** Default 0: the most probable token. */
  readonly temperature?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (tokens: number, total: number) => void;
}

/**
 * Continuations of random places of tokenized documents, written in one batch.
 * @returns prompt and continuation, of which the continuation is scored
 * @throws LinnetError `INPUT` if no document is as long as a prompt, `ABORTED` when the signal fires
 */
export async function continuations(
  engine: StepEngine,
  documents: readonly Int32Array[],
  options: ContinuationOptions,
): Promise<ScoredWindow[]> {
  const { count, promptLength, length, temperature = 0, seed = 0, signal, onProgress } = options;
  const prompts = randomPrompts(documents, count, promptLength, new Random(seed));
  const writers: Writer[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const state = engine.newState();
    const { logits } = await engine.prefill(state, prompt, { signal });
    const sampler = new Sampler({ temperature, seed: seed + index });
    writers.push({ state, sampler, tokens: [...prompt, sampler.next(logits, [])] });
  }
  const ends = new Set(engine.model.eosIds);
  const one = chain(1);
  for (let written = 1; written < length; written++) {
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while writing calibration text');
    const going = writers.filter(({ tokens }) => !ends.has(tokens[tokens.length - 1]));
    if (going.length === 0) break;
    const requests = going.map(
      ({ state, tokens }): StepRequest => ({ state, tree: one, tokens: tokens.slice(-1), wanted: [0] }),
    );
    const outputs = await engine.step(requests);
    for (const [i, writer] of going.entries()) {
      await engine.commit(requests[i], outputs[i], [0]);
      writer.tokens.push(writer.sampler.next(outputs[i].logits[0], []));
    }
    onProgress?.(written, length);
  }
  return writers.map(({ tokens }) => ({ tokens: Int32Array.from(tokens), scoredFrom: promptLength }));
}

interface Writer {
  readonly state: SequenceState;
  readonly sampler: Sampler;
  readonly tokens: number[];
}

function randomPrompts(
  documents: readonly Int32Array[],
  count: number,
  length: number,
  random: Random,
): readonly Int32Array[] {
  const long = documents.filter((tokens) => tokens.length >= length);
  if (long.length === 0) {
    throw new LinnetError(
      'INPUT',
      `no document has the ${length} tokens of a prompt; give longer text or a shorter prompt`,
    );
  }
  return Array.from({ length: count }, () => {
    const tokens = long[random.integer(long.length)];
    const start = random.integer(tokens.length - length + 1);
    return tokens.slice(start, start + length);
  });
}

/** Every second window, and the others: trees are found on one half and compared on the other. */
export function halves<T>(windows: readonly T[]): readonly [T[], T[]] {
  return [windows.filter((_, index) => index % 2 === 0), windows.filter((_, index) => index % 2 === 1)];
}
