/**
 * Drafters guess how a text continues, as a tree of tokens. The model then reads the whole tree in one step and keeps the
 * path that agrees with its own choice, so a bad guess costs time and never changes the text.
 */
import type { TokenTree } from '../../../attention/tree.ts';
import type { SequenceState } from '../../state/sequence-state.ts';

/** A drafter's input. */
export interface DraftContext {
  /** The whole text; its last token is the root. It only grows between calls; do not keep it. */
  readonly tokens: readonly number[];
  /** The token chosen last: node 0 of the draft. */
  readonly root: number;
  /** Hidden state after the final norm [width] that predicted the root. */
  readonly hidden: Float32Array;
  /** The verifying model's state; it has read the text without the root. Read-only. */
  readonly state: SequenceState;
  /** Deepest useful node; deeper ones are cut off. At least 0, for a root alone. */
  readonly maxDepth: number;
  /**
   * A draft's expected tokens per second, by measured costs. `nodes` include the root, `tokens` are the round's expected
   * tokens.
   */
  readonly rate?: (nodes: number, tokens: number) => number;
}

/** A draft as the model read it, without nodes that were cut off. */
export interface ReadDraft {
  /** Token of every node [T]; only the root if nothing was drafted. */
  readonly tokens: Int32Array;
  /** Logits [V] of every node; read them immediately, do not keep them. */
  readonly logits: readonly Float32Array[];
  /** Hidden state after the final norm [width] of every node; likewise. */
  readonly hidden: readonly Float32Array[];
  /** Accepted nodes, from the root. */
  readonly path: readonly number[];
}

/** A guess. A node's children hold different tokens, likeliest first. */
export interface Draft {
  /** Node 0 is the only root. */
  readonly tree: TokenTree;
  /** Token of every node [T]; `tokens[0]` is the root. */
  readonly tokens: Int32Array;
  /** Where a node's guess comes from, for people to read. Default: the drafter's name. */
  readonly source?: (node: number) => string;
}

/** Makes guesses for one text. Data kept between calls follows `DraftContext.tokens`. */
export interface Drafter {
  /** `medusa`, `lookup`, `draft`, …: for statistics. */
  readonly name: string;
  /** Last prompt tokens whose hidden states it reads. Default: none. */
  readonly reads?: number;
  /**
   * Called when a text begins: the text's first token after the prompt's last ones, and the hidden states [width] that
   * chose them.
   */
  read?(tokens: readonly number[], before: readonly Float32Array[]): void;
  /** A draft on top of the text; only a root if there is nothing to guess from. */
  propose(context: DraftContext): Promise<Draft>;
  /**
   * Called after each step with the tokens that followed the root; the last is the next root. For drafters that adapt to
   * their success: the text itself comes with the next context.
   */
  accepted?(tokens: readonly number[], read: ReadDraft): Promise<void> | void;
  /** The text has ended. Not called for abandoned texts. */
  ended?(): void;
}
