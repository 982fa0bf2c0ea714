/** The texts of a request as its answer tells them: each job with its choices, which grow with the events of its run. */
import type { SequenceState } from '../../../decoding/state/sequence-state.ts';
import type { Snapshot } from '../../../decoding/state/session-format.ts';
import type { PreparedJob, Session } from '../../../engine/session.ts';
import type { PlacedScore, TokenScore } from '../../../engine/text/scores.ts';
import type { EndEvent, PromptEvent, TokensEvent } from '../../../engine/text-job.ts';

/** Keeps a session that has moved on. */
export type Keep = (snapshot: Snapshot, record: TextRecord) => Promise<unknown>;

/** A requested text: a job, the session that made it, its choices and its statistics. */
export interface TextRecord {
  readonly session: Session;
  readonly job: PreparedJob;
  /** The tokens that the client gave: for encoder-decoder models the source. */
  readonly prompt: readonly number[];
  readonly choices: readonly ChoiceRecord[];
  /** Tokens of the prompt that a state had read before. */
  cached: number;
  /** Scores from the prompt's second token on. */
  scores: readonly TokenScore[];
  state?: SequenceState;
  ended?: EndEvent;
}

/** One text of a job. */
export interface ChoiceRecord {
  /** Among all choices of the request. */
  readonly index: number;
  text: string;
  readonly tokens: number[];
  /** Those that came with the text; `end` has the others. */
  readonly scores: PlacedScore[];
  /** Tokens whose characters are not certain yet. */
  waiting: readonly number[];
  end?: EndEvent;
}

/** A step of an answer, which the records have taken in. */
export type Piece = { readonly record: TextRecord } & (
  | { readonly type: 'prompt'; readonly event: PromptEvent }
  | { readonly type: 'text'; readonly choice: ChoiceRecord; readonly event: TokensEvent }
  | {
      readonly type: 'end';
      readonly choice: ChoiceRecord;
      readonly event: EndEvent;
      /** Tokens that came with no text. */
      readonly tokens: readonly number[];
    }
);
