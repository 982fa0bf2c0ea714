/**
 * Prompt lookup: what followed the last few tokens where they occurred before is a guess of what follows now. No training,
 * no second model; strong where a text repeats itself or its prompt, as in summaries, code and edits. Where a model reads one
 * text and generates another, it is looked up in both.
 */
import { DraftTrie, rootDraft } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';
import { NgramIndex } from './ngram-index.ts';
import { LinnetError } from '../../../errors.ts';
import { requireCount, requireOptions } from '../../../files/arguments.ts';

/** Lengths of the lookup, and bounds of the proposals. */
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

/** Guesses from the text's own past and the text that was read. A step costs the same whatever the length of either. */
export class LookupDrafter implements Drafter {
  readonly name = 'lookup';
  /** The text that was read, if there is one, then the text that is generated. */
  readonly #index: NgramIndex;
  readonly #bounds: Required<Pick<LookupOptions, 'branches' | 'depth' | 'maxNodes'>>;

  /** @throws LinnetError `CONFIG` for options that are no whole numbers of at least 1, or a shortest above the longest */
  constructor(options: LookupOptions = {}) {
    requireOptions(options, 'the options of lookup');
    const { longest = 3, shortest = 1, branches = 3, depth = 7, maxNodes = 16 } = options;
    for (const [name, value] of Object.entries({ longest, shortest, branches, depth, maxNodes })) {
      requireCount(value, `${name} of lookup`, 1, 'CONFIG');
    }
    if (shortest > longest) {
      throw new LinnetError('CONFIG', `the shortest n-gram is ${shortest} tokens, the longest ${longest}`);
    }
    this.#index = new NgramIndex(Array.from({ length: longest - shortest + 1 }, (_, i) => shortest + i));
    this.#bounds = { branches, depth, maxNodes };
  }

  propose({ tokens, root, state, maxDepth }: DraftContext): Promise<Draft> {
    this.#index.extend(tokens, state.encoded?.tokens);
    const { branches, maxNodes } = this.#bounds;
    const depth = Math.min(this.#bounds.depth, maxDepth);
    const ends = depth === 0 ? [] : this.#index.occurrences(tokens, branches);
    const trie = new DraftTrie(root);
    for (const end of ends) trie.addPath(continuation(this.#index, end, depth), maxNodes);
    return Promise.resolve(trie.size === 1 ? rootDraft(root) : trie.toDraft());
  }
}

/** At most `length` tokens after position `end`. Past the text they go on in the continuation itself: a repetition. */
function continuation(text: NgramIndex, end: number, length: number): number[] {
  const path: number[] = [];
  for (let at = end + 1; path.length < length; at++) {
    const token = text.following(at, path);
    if (token < 0) break;
    path.push(token);
  }
  return path;
}
