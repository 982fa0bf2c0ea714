/**
 * Prompt lookup: what followed the last few tokens when they stood in the text before is a guess of what follows now. No
 * training, no second model; strong where a text repeats itself or its prompt, as in summaries, code and edits.
 */
import { LinnetError } from '../../errors.ts';
import { DraftTrie, rootDraft } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';
import { NgramIndex } from './ngram-index.ts';

export interface LookupOptions {
  /** Longest end of the text that is looked up. Default 3. */
  readonly longest?: number;
  /** Shortest end that is looked up where longer ones are not found. Default 1. */
  readonly shortest?: number;
  /** Most continuations that are merged into a tree. Default 3. */
  readonly branches?: number;
  /** Tokens of a continuation. Default 7. */
  readonly depth?: number;
  /** Most nodes of a draft, the root included. Default 16. */
  readonly maxNodes?: number;
}

/** Guesses from the text's own past. A step costs the same whatever the length of the text. */
export class LookupDrafter implements Drafter {
  readonly name = 'lookup';
  readonly #index: NgramIndex;
  readonly #branches: number;
  readonly #depth: number;
  readonly #maxNodes: number;

  /** @throws LinnetError `CONFIG` for options that are no whole numbers of at least 1, or a shortest above the longest */
  constructor({ longest = 3, shortest = 1, branches = 3, depth = 7, maxNodes = 16 }: LookupOptions = {}) {
    for (const [name, value] of Object.entries({ longest, shortest, branches, depth, maxNodes })) {
      if (!(Number.isSafeInteger(value) && value >= 1)) {
        throw new LinnetError('CONFIG', `${name} of lookup is ${value}, expected a whole number of at least 1`);
      }
    }
    this.#index = new NgramIndex(shortest, longest);
    this.#branches = branches;
    this.#depth = depth;
    this.#maxNodes = maxNodes;
  }

  propose({ tokens, root, maxDepth }: DraftContext): Promise<Draft> {
    this.#index.extend(tokens);
    const depth = Math.min(this.#depth, maxDepth);
    const ends = depth === 0 ? [] : this.#index.occurrences(tokens, this.#branches);
    if (ends.length === 0) return Promise.resolve(rootDraft(root));
    const trie = new DraftTrie(root);
    for (const end of ends) trie.addPath(continuation(tokens, end, depth), this.#maxNodes);
    return Promise.resolve(trie.toDraft());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** What follows position `end`. Where that runs past the text, it goes on in the continuation itself: a repetition. */
function continuation(tokens: readonly number[], end: number, length: number): number[] {
  const path: number[] = [];
  for (let at = end + 1; path.length < length; at++) {
    path.push(at < tokens.length ? tokens[at] : path[at - tokens.length]);
  }
  return path;
}
