/** Sequences of tokens as a trie: a shared prefix is one path. */
import type { TokenSequence } from './token-sequences.ts';

/** A prediction that is wanted at a node: of which sequence, and which token really follows. */
export interface Prediction {
  /** Index of the sequence. */
  readonly sequence: number;
  readonly token: number;
}

/**
 * Nodes in depth-first order, so that a subtree is a range. The last token of a sequence is only predicted and has no
 * node of its own.
 */
export interface SequenceTrie {
  readonly tokens: readonly number[];
  /** −1 for a root. */
  readonly parents: readonly number[];
  /** The node after the last one of the subtree. */
  readonly ends: readonly number[];
  /** Predictions wanted at a node; undefined where there are none. */
  readonly predictions: readonly (readonly Prediction[] | undefined)[];
}

/** @param skipped tokens at the beginning of all sequences that have been read already */
export function tokenTrie(sequences: readonly TokenSequence[], skipped: number): SequenceTrie {
  const tokens: number[] = [];
  const parents: number[] = [];
  const ends: number[] = [];
  const predictions: (Prediction[] | undefined)[] = [];
  const order = sequences.map((_, index) => index).sort((a, b) => compare(sequences[a].tokens, sequences[b].tokens));
  /** Nodes from a root to the last one that was added. */
  let path: number[] = [];
  const shorten = (length: number): void => {
    for (const node of path.splice(length)) ends[node] = tokens.length;
  };
  for (const index of order) {
    const { tokens: own, scored } = sequences[index];
    const nodes = own.length - 1 - skipped;
    let shared = 0;
    while (shared < path.length && shared < nodes && tokens[path[shared]] === own[skipped + shared]) shared++;
    shorten(shared);
    for (let depth = shared; depth < nodes; depth++) {
      parents.push(path.at(-1) ?? -1);
      path.push(tokens.length);
      tokens.push(own[skipped + depth]);
      ends.push(0);
      predictions.push(undefined);
    }
    for (let depth = own.length - 1 - scored - skipped; depth < nodes; depth++) {
      const node = path[depth];
      predictions[node] = [...(predictions[node] ?? []), { sequence: index, token: own[skipped + depth + 1] }];
    }
  }
  shorten(0);
  path = [];
  return { tokens, parents, ends, predictions };
}

/** The children of a node, or the roots of a trie for −1. */
export function childrenOf({ ends, tokens }: SequenceTrie, node: number): number[] {
  const children: number[] = [];
  const end = node < 0 ? tokens.length : ends[node];
  for (let child = node + 1; child < end; child = ends[child]) children.push(child);
  return children;
}

/** How many tokens all lists begin with. */
export function commonPrefix(lists: readonly (readonly number[])[]): number {
  const [first = []] = lists;
  let length = first.length;
  for (const list of lists) {
    let shared = 0;
    while (shared < length && list[shared] === first[shared]) shared++;
    length = shared;
  }
  return length;
}

function compare(first: readonly number[], second: readonly number[]): number {
  const length = Math.min(first.length, second.length);
  for (let i = 0; i < length; i++) if (first[i] !== second[i]) return first[i] - second[i];
  return first.length - second.length;
}
