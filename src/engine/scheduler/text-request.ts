/** What the scheduler is asked for, and what it answers with. */
import type { TextOptions } from '../growing-text.ts';
import type { DecodingMethod } from '../../decoding/method.ts';
import type { Sampler } from '../../decoding/sampler.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { TextPace } from './round-pacing.ts';
import type { Generation } from '../text-generation.ts';

/** One of the continuations of a prompt. */
export interface ChoiceRequest {
  readonly sampler: Sampler;
  /** Default: one token a round. */
  readonly method?: DecodingMethod;
  /** Of a method that drafts when it may: by the scheduler's `pacing`. */
  readonly pace?: TextPace;
}

/** A prompt and its continuations. */
export interface TextRequest extends Omit<TextOptions, 'maxTokens'> {
  /** Whose request it is: rows and prompt chunks are shared out evenly among keys. */
  readonly key: string;
  /** Among the waiting requests of the key, those of lower numbers begin first. Default 0. */
  readonly priority?: number;
  /** Not empty. */
  readonly prompt: readonly number[];
  /** Most tokens of each continuation; 0 only reads the prompt. */
  readonly maxTokens: number;
  /** At least one, unless the prompt is only read. */
  readonly choices: readonly ChoiceRequest[];
  /** Has read a beginning of the prompt, shorter than it; belongs to the scheduler from now on. Default: an empty one. */
  readonly state?: SequenceState;
  /** A state to be had elsewhere, to begin from instead, if it comes to one; nothing is read before that is known. */
  readonly fetched?: Promise<SequenceState | undefined>;
  /**
   * Is given the logits [V] after each token of the prompt that is read, in order: `position` counts from 0 and the logits
   * predict the token at `position + 1`. The last token's logits are given only where the prompt is only read.
   */
  readonly onPromptLogits?: (position: number, logits: Float32Array) => void;
  /** Lengths, ascending, at which `onBoundary` sees the state while the prompt is read. */
  readonly boundaries?: readonly number[];
  /** Sees the state at a boundary; it must copy what it wants to keep. */
  readonly onBoundary?: (state: SequenceState, length: number) => void;
}

/** What happens to a request, in the order in which it happens. */
export type RequestEvent =
  /** A part of the prompt has been read. */
  | {
      readonly type: 'prompt';
      readonly done: number;
      readonly total: number;
      readonly state: SequenceState;
      /** Time spent reading what the state had not read, but for the last token. */
      readonly seconds: number;
    }
  /** A continuation grew. Either may be empty. */
  | { readonly type: 'tokens'; readonly choice: number; readonly tokens: readonly number[]; readonly text: string }
  /** A continuation ended; its state has settled. */
  | { readonly type: 'end'; readonly choice: number; readonly generation: Generation };

/** Roughly what a waiting event holds, in bytes. */
export function eventWeight(event: RequestEvent): number {
  return 64 + (event.type === 'tokens' ? 2 * event.text.length + 8 * event.tokens.length : 0);
}
