/**
 * How tokens are decoded: one per round, or several when a step verifies drafts. A method returns requests and reads their
 * results but never runs the model itself, so that one step of an engine serves many texts' plans.
 */
import { chain } from '../attention/tree.ts';
import { internalError } from '../errors.ts';
import type { StepEngine, StepOutput, StepRequest } from './step-engine.ts';
import type { Sampler } from './sampler.ts';
import type { SequenceState } from './state/sequence-state.ts';

/** A prompt that has been read, where a method starts. */
export interface ReadPrompt {
  /** Commits accepted tokens; only the method's owner runs the model. */
  readonly engine: Pick<StepEngine, 'commit' | 'room' | 'layout'>;
  /** Has read the whole prompt; the method takes it further. */
  readonly state: SequenceState;
  readonly sampler: Sampler;
  /** Logits [V] of the prompt's last token. */
  readonly logits: Float32Array;
  /** Hidden state [width] of the prompt's last token. */
  readonly hidden: Float32Array;
  /** Hidden states of the prompt's last tokens, as many as the method `reads`; the last is `hidden`. */
  readonly recent?: readonly Float32Array[];
}

/** Where a round must stop. */
export interface StepBounds {
  /** Most tokens wanted, at least 1. */
  readonly count: number;
  /** Tokens that end the text. */
  readonly ends: Pick<ReadonlySet<number>, 'has'>;
}

/** A method at work on one text: rounds of `plan` and `conclude`, then `settle`. */
export interface Continuation {
  /**
   * Begins a round: the nodes to run for the text. None if it needs no run, as for the first token, which the prompt
   * predicts; one tree for most methods, several for a beam search.
   * @param text prompt and continuation so far
   */
  plan(text: readonly number[], bounds: StepBounds): Promise<readonly StepRequest[]>;
  /**
   * Ends a round: decides which tokens follow.
   * @param text the same as in `plan`
   * @param outputs the step's outputs for the requests, in their order
   * @returns at most `bounds.count` tokens, none after one of `bounds.ends`; empty only if a method needs more rounds to
   *   decide, like a beam search
   */
  conclude(text: readonly number[], outputs: readonly StepOutput[]): Promise<readonly number[]>;
  /**
   * Called once, when the text has ended: the state must then have read the text's first `length` tokens, or fewer if they
   * have not been run. Absent if nothing is ever left to do.
   * @returns tokens that the state has yet to read; the method's owner reads them
   */
  settle?(length: number): Promise<readonly number[]>;
}

/** A way to continue a prompt: sequential, or with drafts that a step verifies. */
export interface DecodingMethod {
  (prompt: ReadPrompt): Continuation;
  /** Last prompt tokens whose hidden states it wants. Default: the last one. */
  readonly reads?: number;
}

/** One round for a single text. */
export async function nextTokens(
  engine: StepEngine,
  continuation: Continuation,
  text: readonly number[],
  bounds: StepBounds,
): Promise<readonly number[]> {
  const requests = await continuation.plan(text, bounds);
  const outputs = requests.length === 0 ? [] : await engine.step(requests);
  return continuation.conclude(text, outputs);
}

/** One token per round. The state lacks the text's last token, which the next round reads. */
export const sequential: DecodingMethod = ({ engine, state, sampler, logits }) => {
  const tree = chain(1);
  let request: StepRequest | undefined;
  let started = false;
  return {
    plan(text) {
      if (started) request = { state, tree, tokens: [text[text.length - 1]], wanted: [0] };
      started = true;
      return Promise.resolve(request === undefined ? [] : [request]);
    },
    async conclude(text, [output]) {
      if (request !== undefined) {
        if (output === undefined) throw internalError('a round ends without the output of its step');
        await engine.commit(request, output, [0]);
      }
      await sampler.ready(text);
      return [sampler.next(request === undefined ? logits : output.logits[0], text)];
    },
  };
};
