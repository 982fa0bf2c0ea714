/**
 * How tokens are decoded: one a step, or several where drafted candidates are verified. What `generate` needs of a
 * method, and the sequential one.
 */
import type { StepEngine } from './step-engine.ts';
import type { Sampler } from './sampler.ts';
import type { SequenceState } from './state/sequence-state.ts';

/** What a method starts from: a prompt that has been read. */
export interface ReadPrompt {
  readonly engine: StepEngine;
  /** Has read the whole prompt; the method takes it further. */
  readonly state: SequenceState;
  readonly sampler: Sampler;
  /** Logits [V] of the last token of the prompt. */
  readonly logits: Float32Array;
  /** Hidden state [width] of the last token of the prompt. */
  readonly hidden: Float32Array;
}

/** Where a step has to stop. */
export interface StepBounds {
  /** Most tokens wanted, at least 1. */
  readonly count: number;
  /** Tokens after which nothing is wanted. */
  readonly ends: Pick<ReadonlySet<number>, 'has'>;
}

/** A method at work on one text. */
export interface Continuation {
  /**
   * The next tokens: at least one, at most `bounds.count`, none after one of `bounds.ends`.
   * @param text prompt and continuation so far
   */
  next(text: readonly number[], bounds: StepBounds): Promise<readonly number[]>;
  /**
   * Told once, when the text has ended: the state is to have read the first `length` tokens of the text, or fewer where
   * they have not been read. For methods whose state lags behind.
   */
  settle?(length: number): Promise<void>;
}

export type DecodingMethod = (prompt: ReadPrompt) => Continuation;

/** One token a step. The state lacks the last token, which the next step reads. */
export const sequential: DecodingMethod = ({ engine, state, sampler, logits: promptLogits }) => {
  let logits = promptLogits;
  let unread: number | undefined;
  return {
    async next(text) {
      if (unread !== undefined) ({ logits } = await engine.advance(state, unread));
      unread = sampler.next(logits, text);
      return [unread];
    },
  };
};
