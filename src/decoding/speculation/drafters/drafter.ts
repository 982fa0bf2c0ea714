/**
 * Drafters guess how a text goes on, as a tree of tokens. The model then reads the whole tree in one step and keeps the
 * path that agrees with its own choice, so a bad guess costs time and never changes the text.
 */
import type { TokenTree } from '../../../attention/tree.ts';
import type { SequenceState } from '../../state/sequence-state.ts';

/** Input of a drafter. */
export interface DraftContext {
  /** The whole text, the root included as the last token. It only ever grows between calls; not to be kept. */
  readonly tokens: readonly number[];
  /** The token that was chosen last: node 0 of the draft. */
  readonly root: number;
  /** Hidden state after the final norm [width], from which the root was predicted. */
  readonly hidden: Float32Array;
  /** State of the model that verifies; it has read the text without the root. Only to be read. */
  readonly state: SequenceState;
  /** Deepest node that can be of use; deeper ones are cut off. At least 0, for a root alone. */
  readonly maxDepth: number;
  /** Expected tokens a second of a draft, by measured costs. `nodes` count the root, `tokens` are the expected tokens of the round. */
  readonly rate?: (nodes: number, tokens: number) => number;
}

/** A draft as the model has read it, without the nodes that were cut off. */
export interface ReadDraft {
  /** Token of every node [T]; the root alone where nothing was drafted. */
  readonly tokens: Int32Array;
  /** Logits [V] of every node; to be read at once, not to be kept. */
  readonly logits: readonly Float32Array[];
  /** Hidden state after the final norm [width] of every node; likewise. */
  readonly hidden: readonly Float32Array[];
  /** Nodes that were accepted, from the root. */
  readonly path: readonly number[];
}

/** A guess. Children of one node hold different tokens, and come with the likeliest first. */
export interface Draft {
  /** Node 0 is the root, the only one. */
  readonly tree: TokenTree;
  /** Token of every node [T]; `tokens[0]` is the root. */
  readonly tokens: Int32Array;
  /** Where a node's guess comes from, for people. Default: the drafter's name. */
  readonly source?: (node: number) => string;
}

/** Makes guesses for one text. Data kept between calls follow `DraftContext.tokens`. */
export interface Drafter {
  /** `medusa`, `lookup`, `draft`, …: for statistics. */
  readonly name: string;
  /** Last tokens of the prompt whose hidden states it reads. Default: none. */
  readonly reads?: number;
  /** Told as a text begins: its first token after the last of the prompt, and the hidden states [width] that they were chosen from. */
  read?(tokens: readonly number[], before: readonly Float32Array[]): void;
  /** A draft on top of the text; a root alone where there is nothing to guess from. */
  propose(context: DraftContext): Promise<Draft>;
  /**
   * Told after each step which tokens followed the root, the last of them being the next root. For drafters that adapt
   * to their success: the text itself comes with the next context.
   */
  accepted?(tokens: readonly number[], read: ReadDraft): Promise<void> | void;
  /** The text has ended. Not called where it is given up. */
  ended?(): void;
}
