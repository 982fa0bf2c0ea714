/** One text under generation: takes tokens from a decoding method round by round until something ends it. */
import type { Continuation, DecodingMethod, ReadPrompt } from '../decoding/method.ts';
import type { Sampler } from '../decoding/sampler.ts';
import type { StepOutput, StepRequest } from '../decoding/step-engine.ts';
import { internalError } from '../errors.ts';
import type { VerifiedTree } from '../decoding/speculation/speculative.ts';
import type { GrowingText, TextPiece } from './growing-text.ts';
import type { TextPace } from './scheduler/round-pacing.ts';
import type { ScoreStream } from './text/score-stream.ts';
import type { FinishReason, Generation, TokensEvent } from './text-job.ts';

/** Parts of a running text. */
export interface TextParts {
  readonly choice: number;
  readonly growing: GrowingText;
  readonly sampler: Sampler;
  readonly method: DecodingMethod;
  /** Of a method that drafts when it may. */
  readonly pace: TextPace | undefined;
  /** Scores of chosen tokens, which the method pushes. */
  readonly scores: ScoreStream | undefined;
  /** Verified trees that no event has had. */
  readonly trees: VerifiedTree[];
}

/** One text of a job. Calls are made one after the other. */
export class RunningText {
  readonly parts: TextParts;
  #continuation: Continuation | undefined;
  /** When the round under way began. */
  #started = 0;
  #steps = 0;
  /** Tokens that the method gave, an ending one included. */
  #decoded = 0;
  #decodeSeconds = 0;

  constructor(parts: TextParts) {
    this.parts = parts;
  }

  /** Why the text ended; undefined while it grows. */
  get finish(): FinishReason | undefined {
    return this.parts.growing.finish;
  }

  /** The prompt has been read: rounds can begin. */
  begin(prompt: Omit<ReadPrompt, 'sampler'>): void {
    this.#continuation = this.parts.method({ ...prompt, sampler: this.parts.sampler });
  }

  /** Begins a round: see `Continuation.plan`. */
  plan(): Promise<readonly StepRequest[]> {
    const { tokens, bounds } = this.parts.growing;
    this.#started = performance.now();
    return this.#ready().plan(tokens, bounds);
  }

  /** Ends a round: see `Continuation.conclude`. */
  async conclude(outputs: readonly StepOutput[]): Promise<TokensEvent> {
    const { growing } = this.parts;
    const tokens = await this.#ready().conclude(growing.tokens, outputs);
    this.#decodeSeconds += (performance.now() - this.#started) / 1000;
    this.#steps++;
    this.#decoded += tokens.length;
    return this.#event(growing.take(tokens));
  }

  /** Ends the text between two rounds, or before its first. */
  end(reason: FinishReason): TokensEvent {
    return this.#event(this.parts.growing.end(reason));
  }

  /** Lets the state read all of a text that ended with a token, else all but the last token. */
  async settle(): Promise<void> {
    await this.#continuation?.settle(this.parts.growing.settledLength);
  }

  /** @throws LinnetError `INTERNAL` while the text has not ended */
  result({ state, prefillSeconds }: Pick<Generation, 'state' | 'prefillSeconds'>): Generation {
    const { finish, text, continuation, promptLength } = this.parts.growing;
    if (finish === undefined) throw internalError('the result of a text that has not ended');
    return {
      tokens: continuation,
      text,
      finish,
      steps: this.#steps,
      promptTokens: promptLength,
      prefillSeconds,
      decodeSeconds: this.#decodeSeconds,
      tokensPerSecond: this.#decoded > 1 ? (this.#decoded - 1) / this.#decodeSeconds : 0,
      state,
    };
  }

  #event({ tokens, text }: TextPiece): TokensEvent {
    const { choice, scores, trees } = this.parts;
    return { type: 'tokens', choice, tokens, text, scores: scores?.take(text.length) ?? [], trees: trees.splice(0) };
  }

  #ready(): Continuation {
    if (this.#continuation === undefined) throw internalError('a round before the prompt has been read');
    return this.#continuation;
  }
}
