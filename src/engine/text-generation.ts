/**
 * One text under generation: reads its prompt chunk by chunk, then takes tokens from a decoding method round by round
 * until something ends it. `generate` runs one by itself; whoever has many runs the plans of all in one step
 * (`decodeRound`).
 */
import { internalError, LinnetError } from '../errors.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import { type FinishReason, GrowingText, type TextOptions, type TextPiece } from './growing-text.ts';
import { chain } from '../attention/tree.ts';
import { type Continuation, type DecodingMethod, nextTokens, sequential } from '../decoding/method.ts';
import { Sampler } from '../decoding/sampler.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import { promptChunk, type StepEngine, type StepOutput, type StepRequest } from '../decoding/step-engine.ts';
import { requireTokens } from '../files/arguments.ts';

/** What is continued, and how. */
export interface TextGenerationOptions extends TextOptions {
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
}

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
  /** Time from the beginning to the end of the method's rounds, those of other texts in the same steps included. */
  readonly decodeSeconds: number;
  /** Tokens decoded after the first, which the prompt gives, per second of `decodeSeconds`; 0 if there are none. */
  readonly tokensPerSecond: number;
  /** Has read the prompt and the tokens, commonly without the last one. */
  readonly state: SequenceState;
}

/** A part of the prompt has been read. */
export interface PromptEvent {
  readonly type: 'prompt';
  readonly done: number;
  readonly total: number;
}

/** Tokens of one round, and the text that has become certain. Either may be empty. */
export interface TokensEvent extends TextPiece {
  readonly type: 'tokens';
}

/** One text, from its prompt to its end. Calls are made one after the other. */
export class TextGeneration {
  /** Tokens and characters so far, and why it ended. */
  readonly text: GrowingText;
  readonly #engine: StepEngine;
  readonly #state: SequenceState;
  readonly #sampler: Sampler;
  readonly #method: DecodingMethod;
  #continuation: Continuation | undefined;
  /** The round under way, where it reads the end of the prompt. */
  #lastChunk: StepRequest | undefined;
  /** What the method has planned already. */
  #planned: readonly StepRequest[] | undefined;
  /** When the round under way began. */
  #started = 0;
  #steps = 0;
  /** Tokens that the method gave, an ending one included. */
  #decoded = 0;
  #prefillSeconds = 0;
  #decodeSeconds = 0;

  /**
   * @throws LinnetError `INPUT` for an empty prompt of a model without BOS, `maxTokens` below 1, stop strings without a
   *   tokenizer, or a state that has read the whole prompt
   */
  constructor(engine: StepEngine, options: TextGenerationOptions) {
    const { sampler, method, state } = options;
    this.#engine = engine;
    this.#state = state ?? engine.newState();
    this.#sampler = sampler ?? new Sampler();
    this.#method = method ?? sequential;
    this.text = new GrowingText(promptOf(engine.model, options.promptTokens), engine.model.eosIds, options);
    const read = this.#state.length;
    if (read >= this.text.promptLength) {
      throw new LinnetError(
        'INPUT',
        `the state has read ${read} tokens and the prompt has ${this.text.promptLength}: there is nothing to continue from`,
      );
    }
  }

  /** Why the text ended; undefined while it grows. */
  get finish(): FinishReason | undefined {
    return this.text.finish;
  }

  /** Whether the whole prompt has been read, so that rounds can begin. */
  get promptRead(): boolean {
    return this.#continuation !== undefined;
  }

  /**
   * Reads the next chunk of the prompt.
   * @param most tokens of the chunk. Default `promptChunk`
   */
  async readPrompt(most = promptChunk): Promise<PromptEvent> {
    if (this.promptRead) throw internalError('a prompt is read twice');
    const started = performance.now();
    const total = this.text.promptLength;
    const part = this.text.tokens.slice(this.#state.length, Math.min(total, this.#state.length + most));
    const last = await this.#engine.prefill(this.#state, part);
    this.#prefillSeconds += secondsSince(started);
    const done = this.#state.length;
    if (done === total) {
      this.#continuation = this.#method({ engine: this.#engine, state: this.#state, sampler: this.#sampler, ...last });
    }
    return { type: 'prompt', done, total };
  }

  /**
   * Begins a round whose requests somebody else runs: see `Continuation.plan`. What is left of the prompt, if anything, is
   * read in that round: texts that begin share a step with those that go on. It is to be a chunk at most, and is read with
   * the weights of steps.
   */
  async plan(): Promise<readonly StepRequest[]> {
    this.#started = performance.now();
    if (this.#continuation === undefined) {
      const tokens = this.text.tokens.slice(this.#state.length, this.text.promptLength);
      this.#lastChunk = { state: this.#state, tree: chain(tokens.length), tokens, wanted: [tokens.length - 1] };
      return [this.#lastChunk];
    }
    const planned = this.#planned ?? (await this.#continuation.plan(this.text.tokens, this.text.bounds));
    this.#planned = undefined;
    return planned;
  }

  /** Ends a round: see `Continuation.conclude`. */
  async conclude(outputs: readonly StepOutput[]): Promise<TokensEvent> {
    if (this.#lastChunk !== undefined) return this.#begin(this.#lastChunk, outputs[0]);
    return this.#took(await this.#ready().conclude(this.text.tokens, outputs));
  }

  /** A whole round of this text alone. */
  async step(): Promise<TokensEvent> {
    this.#started = performance.now();
    return this.#took(await nextTokens(this.#engine, this.#ready(), this.text.tokens, this.text.bounds));
  }

  /** Ends the text between two rounds, or while its prompt is read. */
  end(reason: FinishReason): TokensEvent {
    return { type: 'tokens', ...this.text.end(reason) };
  }

  /** Lets the state read what it may: all of a text that ended with a token, else all but the last token. */
  async settle(): Promise<void> {
    await this.#continuation?.settle(this.text.settledLength);
  }

  /** @throws LinnetError `INTERNAL` while the text has not ended */
  result(): Generation {
    const { finish, text, continuation, promptLength } = this.text;
    if (finish === undefined) throw internalError('the result of a text that has not ended');
    return {
      tokens: continuation,
      text,
      finish,
      steps: this.#steps,
      promptTokens: promptLength,
      prefillSeconds: this.#prefillSeconds,
      decodeSeconds: this.#decodeSeconds,
      tokensPerSecond: this.#decoded > 1 ? (this.#decoded - 1) / this.#decodeSeconds : 0,
      state: this.#state,
    };
  }

  /** The prompt has been read to its end: what it predicts, where the method needs no run for that. */
  async #begin(chunk: StepRequest, output: StepOutput | undefined): Promise<TokensEvent> {
    if (output === undefined) throw internalError('a prompt without the output of its step');
    this.#lastChunk = undefined;
    await this.#engine.commit(
      chunk,
      output,
      Array.from(chunk.tokens, (_, node) => node),
    );
    const last = { logits: output.logits[0], hidden: output.hidden[0] };
    this.#continuation = this.#method({ engine: this.#engine, state: this.#state, sampler: this.#sampler, ...last });
    this.#prefillSeconds += secondsSince(this.#started);
    this.#started = performance.now();
    const planned = await this.#continuation.plan(this.text.tokens, this.text.bounds);
    if (planned.length === 0) return this.#took(await this.#continuation.conclude(this.text.tokens, []));
    this.#planned = planned;
    return { type: 'tokens', tokens: [], text: '' };
  }

  #took(tokens: readonly number[]): TokensEvent {
    this.#decodeSeconds += secondsSince(this.#started);
    this.#steps++;
    this.#decoded += tokens.length;
    return { type: 'tokens', ...this.text.take(tokens) };
  }

  #ready(): Continuation {
    if (this.#continuation === undefined) throw internalError('a round before the prompt has been read');
    return this.#continuation;
  }
}

/**
 * A copy of a prompt; BOS if it is empty.
 * @throws LinnetError `INPUT` for an empty prompt of a model without BOS
 */
export function promptOf({ bosId }: Pick<AutoregressiveModel, 'bosId'>, tokens: ArrayLike<number>): number[] {
  const prompt = requireTokens(tokens, 'promptTokens');
  if (prompt.length > 0) return prompt;
  if (bosId !== undefined) return [bosId];
  throw new LinnetError('INPUT', 'the prompt is empty and the model has no BOS token to start from; give some text');
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}
