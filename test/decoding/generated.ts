/** A text of token ids, continued by itself: the only job of a runner. */
import type { DecodingMethod } from '../../src/decoding/method.ts';
import type { Sampler } from '../../src/decoding/sampler.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { promptOf } from '../../src/engine/prompt.ts';
import { Runner } from '../../src/engine/runner.ts';
import type { Generation, TextEvent, TextJob } from '../../src/engine/text-job.ts';

/** Options of `generate`. */
export interface GenerateOptions extends Pick<TextJob, 'maxTokens' | 'stop' | 'ignoreEos' | 'signal'> {
  /**
   * The text to continue. Empty stands for the model's BOS token; to a text that is not empty nothing is added, so
   * encode it with `{ bos: true }` where the model has one.
   */
  readonly promptTokens: ArrayLike<number>;
  /** Default: greedy. */
  readonly sampler?: Sampler;
  /** Default: one token a step. */
  readonly method?: DecodingMethod;
  /** A state that has read a beginning of `promptTokens`, so that only the rest is read. Default: an empty one. */
  readonly state?: SequenceState;
  /** Makes characters of tokens. Without one, texts are empty. */
  readonly tokenizer?: Tokenizer;
}

/**
 * Continues a text, as a stream of events whose last one is `end`. The texts of the `tokens` events, joined, are the
 * text of the generation. Leaving the loop early stops generation.
 *
 * The event loop gets its turn between steps and between chunks of the prompt, so that a signal takes effect within one.
 *
 * @throws LinnetError as `Runner.submit`, and `INPUT` for an empty prompt of a model without BOS
 * @example
 * ```ts
 * for await (const event of generate(engine, { promptTokens: [1, 403, 407], maxTokens: 20 })) {
 *   if (event.type === 'tokens') process.stdout.write(event.text);
 * }
 * ```
 */
export async function* generate(
  engine: StepEngine,
  options: GenerateOptions,
): AsyncGenerator<TextEvent, void, undefined> {
  const { promptTokens, sampler, tokenizer, ...rest } = options;
  const tokens = promptOf(engine.model, promptTokens);
  yield* new Runner(engine, { tokenizer, parallel: 1 }).submit({ ...rest, prompt: { tokens }, sampling: sampler });
}

/**
 * Continues a text and returns the end of it. Errors as `generate`.
 * @example
 * ```ts
 * const { text, tokensPerSecond } = await generateToEnd(engine, { promptTokens: [1, 403, 407], maxTokens: 20 });
 * ```
 */
export async function generateToEnd(engine: StepEngine, options: GenerateOptions): Promise<Generation> {
  for await (const event of generate(engine, options)) {
    if (event.type === 'end') return event.generation;
  }
  throw new Error('generation ended without an end');
}
