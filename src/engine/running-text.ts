/** One text being generated: takes tokens from a decoding method round by round, until a rule ends it. */
import type { Continuation, DecodingMethod } from '../decoding/method.ts';
import type { Sampler } from '../decoding/sampler.ts';
import type { TextPace } from '../decoding/speculation/adaptive-speculation.ts';
import type { VerifiedTree } from '../decoding/speculation/speculative.ts';
import type { StepOutput, StepRequest } from '../decoding/step-engine.ts';
import { internalError, LinnetError } from '../errors.ts';
import { requireCount, requireIterable, requireOptions, requireTokens } from '../files/arguments.ts';
import { StopStringMatcher } from '../tokenizer/stop-strings.ts';
import { TextStream } from '../tokenizer/text-stream.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { ScoreStream } from './text/scores.ts';
import type { FinishReason, Generation, TextJob, TokensEvent } from './text-job.ts';

export interface TextParts {
  readonly job: TextJob;
  readonly choice: number;
  /** The model's end tokens. */
  readonly eosIds: readonly number[];
  /** Turns tokens into characters. Without one, texts are empty. */
  readonly tokenizer: Tokenizer | undefined;
  readonly sampler: Sampler;
  readonly method: DecodingMethod;
  /** For a method that drafts when allowed. */
  readonly pace?: TextPace;
  /** Chosen tokens' scores, which the method pushes. */
  readonly scores: ScoreStream | undefined;
  /** Verified trees that no event has carried yet. */
  readonly trees: VerifiedTree[];
}

/** One of a job's texts. Calls must follow one another. */
export class RunningText {
  readonly parts: TextParts;
  /** Why the text ended; undefined while it grows. */
  finish: FinishReason | undefined;
  /** Nodes that the current round wants to run. */
  requests: readonly StepRequest[] = [];
  /** The last round's tokens and text. */
  event: TokensEvent | undefined;
  failure: unknown;
  /** The running method; undefined before the prompt has been read. */
  continuation: Continuation | undefined;
  /** Prompt and continuation. */
  readonly #tokens: number[];
  /** Tokens that end the text. */
  readonly #ends = new Map<number, FinishReason>();
  readonly #stream: TextStream | undefined;
  readonly #matcher: StopStringMatcher | undefined;
  /** Tokens in whose text no stop string is sought. */
  readonly #unstopped: number;
  #stopped = false;
  /** Whether a token outside the text ended it. */
  #endedByToken = false;
  /** The continuation's characters that are certain. */
  #text = '';
  /** When the current round began. */
  #started = 0;
  #steps = 0;
  /** Tokens from the method, including an ending one. */
  #decoded = 0;
  #decodeSeconds = 0;

  /**
   * @throws LinnetError `INPUT` if `maxTokens` is not a whole number of at least 1, for an empty stop string, or for stop
   *   strings without a tokenizer
   */
  constructor(parts: TextParts) {
    const { tokenizer, eosIds } = parts;
    const { prompt, maxTokens, stop, ignoreEos, leastTokens = 0 } = parts.job;
    requireCount(maxTokens, 'maxTokens');
    requireOptions(stop, 'stop');
    const strings = stop?.strings ?? [];
    if (tokenizer === undefined && strings.length > 0) {
      throw new LinnetError('INPUT', 'stop strings need a tokenizer; give one, or stop at token ids');
    }
    this.parts = parts;
    this.#tokens = [...prompt.tokens];
    this.#unstopped = Math.max(leastTokens, stop?.after ?? 0);
    for (const id of requireTokens(stop?.tokenIds ?? [], 'stop tokens')) this.#ends.set(id, 'stop');
    if (ignoreEos !== true) for (const id of eosIds) this.#ends.set(id, 'eos');
    this.#stream = tokenizer === undefined ? undefined : new TextStream(tokenizer, prompt.tokens);
    this.#matcher = strings.length === 0 ? undefined : new StopStringMatcher(strings);
  }

  /** Begins a round: see `Continuation.plan`. */
  async plan(): Promise<void> {
    const { prompt, maxTokens } = this.parts.job;
    this.#started = performance.now();
    this.requests = [];
    if (this.continuation === undefined) throw internalError('a round before the prompt has been read');
    const count = maxTokens - (this.#tokens.length - prompt.tokens.length);
    const requests = await this.continuation.plan(this.#tokens, { count, ends: this.#ends });
    if (!Array.isArray(requests)) requireIterable(requests, 'a plan of `method`');
    this.requests = requests;
  }

  /** Ends a round: sets `event`. See `Continuation.conclude`. */
  async conclude(outputs: readonly StepOutput[]): Promise<void> {
    const tokens = (await this.continuation?.conclude(this.#tokens, outputs)) ?? [];
    this.#decodeSeconds += (performance.now() - this.#started) / 1000;
    this.#steps++;
    this.#decoded += tokens.length;
    const before = this.#tokens.length;
    let text = '';
    for (const token of tokens) if (this.finish === undefined) text += this.#push(token);
    this.#tell(this.#tokens.slice(before), text);
    if (this.#stopped) this.finish = 'stop'; // held-back text can complete a stop string
  }

  /** Ends the text between two rounds, or before its first; the event carries the text held back for stop strings. */
  end(reason: FinishReason): void {
    this.finish ??= reason;
    this.#tell([], '');
  }

  /**
   * Makes the state read all of a text that ended with a token, else all but the last token.
   * @returns tokens it has yet to read
   */
  async settle(): Promise<readonly number[]> {
    const length = this.#endedByToken ? this.#tokens.length : this.#tokens.length - 1;
    return (await this.continuation?.settle?.(length)) ?? [];
  }

  /** @throws LinnetError `INTERNAL` while the text has not ended */
  result({ state, prefillSeconds }: Pick<Generation, 'state' | 'prefillSeconds'>): Generation {
    if (this.finish === undefined) throw internalError('the result of a text that has not ended');
    const { length } = this.parts.job.prompt.tokens;
    return {
      tokens: this.#tokens.slice(length),
      text: this.#text,
      finish: this.finish,
      steps: this.#steps,
      promptTokens: length,
      prefillSeconds,
      decodeSeconds: this.#decodeSeconds,
      tokensPerSecond: this.#decoded > 1 ? (this.#decoded - 1) / this.#decodeSeconds : 0,
      state,
    };
  }

  /** Adds a token and returns the text that has become certain. */
  #push(token: number): string {
    this.finish = this.#ends.get(token);
    if (this.finish !== undefined) {
      this.#endedByToken = true;
      return '';
    }
    this.#tokens.push(token);
    const { prompt, maxTokens } = this.parts.job;
    const length = this.#tokens.length - prompt.tokens.length;
    const piece = this.#stream?.push(token) ?? '';
    const text = this.#matcher === undefined || length <= this.#unstopped ? piece : this.#match(piece);
    if (this.#stopped) this.finish = 'stop';
    else if (length >= maxTokens) this.finish = 'length';
    return text;
  }

  #match(piece: string): string {
    if (this.#matcher === undefined) return piece;
    const { text, match } = this.#matcher.push(piece);
    if (match === undefined || this.#stopped) return text;
    this.#stopped = true;
    return this.parts.job.stop?.kept === true ? text + match : text;
  }

  /** Sets the event for the added tokens, including held-back text once the text has ended. */
  #tell(tokens: readonly number[], added: string): void {
    const { choice, scores, trees } = this.parts;
    const held = this.finish === undefined ? '' : this.#match(this.#stream?.flush() ?? '');
    const text = added + held + (this.finish === undefined ? '' : (this.#matcher?.flush() ?? ''));
    this.#text += text;
    const scored = scores?.take(text.length) ?? [];
    this.event = { type: 'tokens', choice, tokens, text, scores: scored, trees: trees.splice(0) };
  }
}
