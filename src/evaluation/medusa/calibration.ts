/**
 * Text to calibrate candidate trees on. A draft is right if it matches the model's own continuation, so the best
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
 * Continuations of random places of tokenized documents, generated in one batch.
 * @returns prompt and continuation, of which the continuation is scored
 * @throws LinnetError `INPUT` if no document is as long as a prompt, `ABORTED` when the signal fires
 */
export async function continuations(
  engine: StepEngine,
  documents: readonly Int32Array[],
  options: ContinuationOptions,
): Promise<ScoredWindow[]> {
  const prompts = randomPrompts(documents, options.count, options.promptLength, new Random(options.seed ?? 0));
  const texts = await generateAll(
    engine,
    prompts.map((prompt) => ({ prompt, state: engine.newState() })),
    options,
  );
  return texts.map((tokens) => ({ tokens, scoredFrom: options.promptLength }));
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
  { startId, count, promptLength, ...options }: ContinuationOptions & { readonly startId: number },
): Promise<ScoredWindow[]> {
  if (sources.length === 0) throw new LinnetError('INPUT', 'there is no text to read; give at least one');
  const random = new Random(options.seed ?? 0);
  const end = engine.model.eosIds.slice(0, 1);
  const read = Array.from({ length: count }, () => {
    const tokens = sources[random.integer(sources.length)];
    return Int32Array.from([...tokens.subarray(0, promptLength), ...end]);
  });
  const starts: GenerationStart[] = [];
  for (const source of read) {
    starts.push({ prompt: Int32Array.of(startId), state: engine.newState(await engine.encode(source)) });
  }
  const texts = await generateAll(engine, starts, options);
  return texts.map((tokens, i) => ({ tokens, scoredFrom: 1, source: read[i] }));
}

interface GenerationStart {
  readonly prompt: Int32Array;
  readonly state: SequenceState;
}

/** Prompts with their generated continuations. */
async function generateAll(
  engine: StepEngine,
  starts: readonly GenerationStart[],
  { length, temperature = 0, seed = 0, signal, onProgress }: Omit<ContinuationOptions, 'count' | 'promptLength'>,
): Promise<Int32Array[]> {
  const writers: Writer[] = [];
  for (const [index, { prompt, state }] of starts.entries()) {
    const { logits } = await engine.prefill(state, prompt, { signal });
    const sampler = new Sampler({ temperature, seed: seed + index });
    writers.push({ state, sampler, tokens: [...prompt, sampler.next(logits, [])] });
  }
  const ends = new Set(engine.model.eosIds);
  const one = chain(1);
  for (let written = 1; written < length; written++) {
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while generating calibration text');
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
  return writers.map(({ tokens }) => Int32Array.from(tokens));
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
