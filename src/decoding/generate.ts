/**
 * Continuing a text: reads the prompt, takes tokens from a decoding method until something ends the text, and turns
 * them into characters as they come.
 */
import { internalError, LinnetError } from '../errors.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import { StopStringMatcher } from '../tokenizer/stop-strings.ts';
import { TextStream } from '../tokenizer/text-stream.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type StepEngine, promptChunk } from './step-engine.ts';
import { eventLoopTurn } from './event-loop.ts';
import { type Continuation, type DecodingMethod, sequential } from './method.ts';
import { Sampler } from './sampler.ts';
import type { SequenceState } from './state/sequence-state.ts';

/** What `generate` is asked for. */
export interface GenerateOptions {
  /**
   * The text to continue. Empty stands for the model's BOS token; to a text that is not empty nothing is added, so
   * encode it with `{ bos: true }` where the model has one.
   */
  readonly promptTokens: ArrayLike<number>;
  /** Most tokens to produce. */
  readonly maxTokens: number;
  /** Default: greedy. */
  readonly sampler?: Sampler;
  /** Default: one token a step. */
  readonly method?: DecodingMethod;
  /** What ends the text besides the model's EOS tokens. Strings need a tokenizer. */
  readonly stop?: { readonly tokenIds?: readonly number[]; readonly strings?: readonly string[] };
  /** Takes EOS tokens for any other, for measurements over a given number of tokens. Default false. */
  readonly ignoreEos?: boolean;
  /** Ends generation between two steps or two chunks of the prompt; what there is by then is the result. */
  readonly signal?: AbortSignal;
  /** Makes characters of tokens. Without one, texts are empty. */
  readonly tokenizer?: Tokenizer;
  /** A state that has read a beginning of `promptTokens`, so that only the rest is read. Default: an empty one. */
  readonly state?: SequenceState;
}

/** Why a text ended: `maxTokens` reached, a stop token or string, a token the model names as EOS, or the signal. */
export type FinishReason = 'length' | 'stop' | 'eos' | 'abort';

/** A finished continuation. */
export interface Generation {
  /**
   * The continuation. The EOS or stop token that ended it is not in it. The tokens that completed a stop string are:
   * a token may hold the beginning of the string and text before it.
   */
  readonly tokens: readonly number[];
  /** Text of the tokens, without the stop string. */
  readonly text: string;
  readonly finish: FinishReason;
  /** Rounds of the method; fewer than tokens where a round gives several. The first needs no run of the model. */
  readonly steps: number;
  /** Length of the prompt, BOS included where the prompt was empty. */
  readonly promptTokens: number;
  /** Time spent reading the part of the prompt that the state had not read. */
  readonly prefillSeconds: number;
  /** Time spent in the method's rounds. */
  readonly decodeSeconds: number;
  /** Tokens decoded after the first, which the prompt gives, per second of `decodeSeconds`; 0 if there are none. */
  readonly tokensPerSecond: number;
  /** Has read the prompt and the tokens, commonly without the last one. */
  readonly state: SequenceState;
}

/** What happens during generation: the prompt is read, tokens come, the text ends. */
export type GenerationEvent =
  | { readonly type: 'prompt'; readonly done: number; readonly total: number }
  /** Tokens of one round, and the text that has become certain. Either may be empty. */
  | { readonly type: 'tokens'; readonly tokens: readonly number[]; readonly text: string }
  | { readonly type: 'end'; readonly generation: Generation };

/**
 * Continues a text, as a stream of events whose last one is `end`. The texts of the `tokens` events, joined, are the
 * text of the generation. Leaving the loop early stops generation.
 *
 * The event loop gets its turn between steps and between chunks of the prompt, so that a signal takes effect within one.
 *
 * @throws LinnetError `INPUT` for an empty prompt of a model without BOS, for tokens outside the vocabulary, for stop
 *   strings without a tokenizer, or for a state that has read the whole prompt; `MISMATCH` for the state of another
 *   model; `RUNTIME` if the engine fails or gives logits that are no numbers
 * @example
 * ```ts
 * for await (const event of generate(engine, options)) {
 *   if (event.type === 'tokens') process.stdout.write(event.text);
 * }
 * ```
 */
export async function* generate(
  engine: StepEngine,
  options: GenerateOptions,
): AsyncGenerator<GenerationEvent, void, undefined> {
  const run = new GenerationRun(engine, options);
  yield* run.readPrompt();
  while (run.finish === undefined) yield await run.step();
  await run.settle();
  yield { type: 'end', generation: run.result(run.finish) };
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

/** One call of `generate`: its progress and what has come of it so far. */
class GenerationRun {
  /** Set when the text has ended. */
  finish: FinishReason | undefined;
  readonly #engine: StepEngine;
  readonly #state: SequenceState;
  readonly #sampler: Sampler;
  readonly #method: DecodingMethod;
  readonly #signal: AbortSignal | undefined;
  readonly #maxTokens: number;
  readonly #ends: ReadonlyMap<number, FinishReason>;
  readonly #writer: TextWriter;
  /** Prompt and continuation. */
  readonly #tokens: number[];
  readonly #promptLength: number;
  #continuation: Continuation | undefined;
  #text = '';
  /** Whether a token that is not in the text ended it. */
  #endedByToken = false;
  #steps = 0;
  /** Tokens that the method gave, an ending one included. */
  #decoded = 0;
  #prefillSeconds = 0;
  #decodeSeconds = 0;

  constructor(engine: StepEngine, options: GenerateOptions) {
    const { maxTokens, sampler, method, signal, state } = options;
    if (!(Number.isSafeInteger(maxTokens) && maxTokens >= 1)) {
      throw new LinnetError('INPUT', `maxTokens is ${maxTokens}, expected a whole number of at least 1`);
    }
    this.#engine = engine;
    this.#state = state ?? engine.newState();
    this.#sampler = sampler ?? new Sampler();
    this.#method = method ?? sequential;
    this.#signal = signal;
    this.#maxTokens = maxTokens;
    this.#ends = endTokens(engine, options);
    this.#tokens = promptOf(engine.model, options.promptTokens);
    this.#promptLength = this.#tokens.length;
    this.#writer = new TextWriter(this.#tokens, options);
    const read = this.#state.length;
    if (read >= this.#promptLength) {
      throw new LinnetError(
        'INPUT',
        `the state has read ${read} tokens and the prompt has ${this.#promptLength}: there is nothing to continue from`,
      );
    }
  }

  async *readPrompt(): AsyncGenerator<GenerationEvent, void, undefined> {
    const total = this.#promptLength;
    for (;;) {
      if (await this.#aborted()) return;
      const started = performance.now();
      const part = this.#tokens.slice(this.#state.length, this.#state.length + promptChunk);
      const last = await this.#engine.prefill(this.#state, part);
      this.#prefillSeconds += secondsSince(started);
      const done = this.#state.length;
      yield { type: 'prompt', done, total };
      if (done < total) continue;
      this.#continuation = this.#method({ engine: this.#engine, state: this.#state, sampler: this.#sampler, ...last });
      return;
    }
  }

  /** One round of the method. */
  async step(): Promise<GenerationEvent> {
    if (this.#continuation === undefined) throw internalError('a step before the prompt');
    if (await this.#aborted()) return { type: 'tokens', tokens: [], text: this.#write(this.#writer.flush()) };
    const started = performance.now();
    const count = this.#maxTokens - (this.#tokens.length - this.#promptLength);
    const tokens = await this.#continuation.next(this.#tokens, { count, ends: this.#ends });
    this.#decodeSeconds += secondsSince(started);
    this.#steps++;
    this.#decoded += tokens.length;
    const before = this.#tokens.length;
    let text = '';
    for (const token of tokens) {
      text += this.#take(token);
      if (this.finish !== undefined) break;
    }
    if (this.finish !== undefined) {
      text += this.#writer.flush();
      if (this.#writer.stopped) this.finish = 'stop'; // what was held back can complete a stop string
    }
    return { type: 'tokens', tokens: this.#tokens.slice(before), text: this.#write(text) };
  }

  /** Lets the state read what it may: all of a text that ended with a token, else all but the last token. */
  async settle(): Promise<void> {
    await this.#continuation?.settle?.(this.#endedByToken ? this.#tokens.length : this.#tokens.length - 1);
  }

  result(finish: FinishReason): Generation {
    return {
      tokens: this.#tokens.slice(this.#promptLength),
      text: this.#text,
      finish,
      steps: this.#steps,
      promptTokens: this.#promptLength,
      prefillSeconds: this.#prefillSeconds,
      decodeSeconds: this.#decodeSeconds,
      tokensPerSecond: this.#decoded > 1 ? (this.#decoded - 1) / this.#decodeSeconds : 0,
      state: this.#state,
    };
  }

  /** Adds a token and returns the text that has become certain. */
  #take(token: number): string {
    this.finish = this.#ends.get(token);
    if (this.finish !== undefined) {
      this.#endedByToken = true;
      return '';
    }
    this.#tokens.push(token);
    const text = this.#writer.push(token);
    if (this.#writer.stopped) this.finish = 'stop';
    else if (this.#tokens.length - this.#promptLength >= this.#maxTokens) this.finish = 'length';
    return text;
  }

  #write(text: string): string {
    this.#text += text;
    return text;
  }

  /** Whether the signal has fired by the end of this turn of the event loop; ends the text if so. */
  async #aborted(): Promise<boolean> {
    await eventLoopTurn();
    if (this.#signal?.aborted !== true) return false;
    this.finish = 'abort';
    return true;
  }
}

/** Tokens to text that ends before a stop string. */
class TextWriter {
  readonly #stream: TextStream | undefined;
  readonly #matcher: StopStringMatcher;
  /** Whether a stop string was found. */
  stopped = false;

  constructor(prompt: readonly number[], { tokenizer, stop }: GenerateOptions) {
    const strings = stop?.strings ?? [];
    if (tokenizer === undefined && strings.length > 0) {
      throw new LinnetError('INPUT', 'stop strings need a tokenizer; give one, or stop at token ids');
    }
    this.#stream = tokenizer === undefined ? undefined : new TextStream(tokenizer, prompt);
    this.#matcher = new StopStringMatcher(strings);
  }

  push(token: number): string {
    return this.#match(this.#stream?.push(token) ?? '');
  }

  /** What was held back. */
  flush(): string {
    return this.#match(this.#stream?.flush() ?? '') + this.#matcher.flush();
  }

  #match(piece: string): string {
    const { text, match } = this.#matcher.push(piece);
    if (match !== undefined) this.stopped = true;
    return text;
  }
}

/**
 * A copy of a prompt; BOS if it is empty.
 * @throws LinnetError `INPUT` for an empty prompt of a model without BOS
 */
export function promptOf({ bosId }: Pick<AutoregressiveModel, 'bosId'>, tokens: ArrayLike<number>): number[] {
  if (tokens.length > 0) return Array.from(tokens);
  if (bosId !== undefined) return [bosId];
  throw new LinnetError('INPUT', 'the prompt is empty and the model has no BOS token to start from; give some text');
}

/** The tokens that end a text, and what to call that. */
function endTokens(engine: StepEngine, { stop, ignoreEos = false }: GenerateOptions): Map<number, FinishReason> {
  const ends = new Map<number, FinishReason>();
  for (const id of stop?.tokenIds ?? []) ends.set(id, 'stop');
  if (!ignoreEos) for (const id of engine.model.eosIds) ends.set(id, 'eos');
  return ends;
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}
