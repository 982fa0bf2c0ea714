/** Continuing a text by itself, or several in the same steps: the only jobs of a runner. */
import type { DecodingMethod } from '../decoding/method.ts';
import type { Sampler } from '../decoding/sampler.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { internalError, LinnetError } from '../errors.ts';
import { requireCount, requireFunction, requireKind } from '../files/arguments.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { promptOf } from './prompt.ts';
import { Runner } from './runner.ts';
import type { Generation, RunnerOptions, TextEvent, TextJob } from './text-job.ts';

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
  checkOptions(engine, options);
  const { promptTokens, sampler, tokenizer, ...rest } = options;
  const tokens = promptOf(engine.model, promptTokens);
  yield* new Runner(engine, { tokenizer, parallel: 1 }).submit({ ...rest, prompt: { tokens }, sampling: sampler });
}

/** @throws LinnetError `INPUT` for options of a wrong type */
function checkOptions(engine: StepEngine, options: GenerateOptions): void {
  requireKind(engine, 'the engine', ['step', 'prefill', 'newState'], 'an engine');
  requireKind(options, 'the options', ['promptTokens'], 'an object with promptTokens');
  const { maxTokens, sampler, state, signal, method } = options;
  requireCount(maxTokens, 'maxTokens');
  if (sampler !== undefined) requireKind(sampler, 'sampler', ['next', 'random'], 'a Sampler');
  if (state !== undefined) requireKind(state, 'state', ['fork', 'layers'], 'a state of the engine');
  if (signal !== undefined) requireKind(signal, 'signal', ['aborted'], 'an AbortSignal');
  requireFunction(method, 'method');
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
  throw internalError('generation ended without an end');
}

/**
 * Runs jobs of one text each in common steps, so that the weights are read once a round and not once a text.
 * @returns in the order of the jobs
 * @throws LinnetError `ABORTED` when the signal fires between two rounds, and as `Runner.submit`
 */
export async function generateTogether(
  engine: StepEngine,
  jobs: readonly TextJob[],
  { signal, ...options }: Pick<RunnerOptions, 'tokenizer' | 'observer'> & { readonly signal?: AbortSignal } = {},
): Promise<Generation[]> {
  // Texts are read one after the other, and may be ahead of that.
  const bounds = { parallel: Math.max(1, jobs.length), readerBytes: Number.POSITIVE_INFINITY };
  const runner = new Runner(engine, { ...options, ...bounds });
  const generations: Generation[] = [];
  for (const events of runner.submitAll(jobs.map((job) => ({ ...job, signal })))) {
    for await (const event of events) if (event.type === 'end') generations.push(event.generation);
  }
  if (!generations.some(({ finish }) => finish === 'abort')) return generations;
  throw new LinnetError('ABORTED', 'stopped while generating an answer');
}
