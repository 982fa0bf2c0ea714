/** Named drafters that need no model of their own, and their memory of an owner's texts. */
import { requireCount, requireOptions } from '../../../files/arguments.ts';
import { StepCosts } from '../adaptive-speculation.ts';
import type { Drafter } from './drafter.ts';
import { type Chance, growingDrafter } from './growing-drafter.ts';
import { recyclingGuesser, Successors } from './recycling-guesser.ts';
import { EarlierTexts, suffixGuesser } from './suffix-guesser.ts';

/** Names of a job's drafters. The text is the same with each. */
export const drafters = ['off', 'lookup', 'suffix', 'recycle', 'auto'] as const;
/** One of `drafters`. */
export type DrafterName = (typeof drafters)[number];

/** Tokens kept per owner: 4.5 MiB with their index. */
const mostTokens = 2 ** 17;
/** Tokens whose successors are saved, by ascending id: tokenizers number their commonest tokens first. */
const mostSaved = 2 ** 13;

/** The part of a session file that a text's drafts continue from, besides its tokens. */
export interface SavedLearning {
  /** [n, 9]: tokens, ascending, each with its likeliest successors, −1 if fewer. */
  readonly successors: Int32Array;
  /** [15, 2]: guesses of each kind that came true, and all guesses. */
  readonly chances: Float32Array;
}

/** Learned from one owner's texts. */
export class LearnedTexts {
  readonly earlier = new EarlierTexts(mostTokens);
  readonly successors = new Successors();

  /** Memory of the learned texts, in bytes. */
  get bytes(): number {
    return this.earlier.bytes + this.successors.bytes;
  }

  /** The part of a session file; undefined if nothing was learned. */
  get saved(): SavedLearning | undefined {
    const chances = this.#chances;
    if (this.successors.bytes === 0 && chances.every(({ isAssumed }) => isAssumed)) return undefined;
    return {
      successors: this.successors.rows(mostSaved),
      chances: Float32Array.from(chances.flatMap(({ counts }) => counts)),
    };
  }

  /** Takes over saved successors for tokens that have none, and counts from more guesses than its own. */
  take({ successors, chances }: SavedLearning): void {
    this.successors.take(successors);
    for (const [at, chance] of this.#chances.entries()) chance.take(chances[2 * at], chances[2 * at + 1]);
  }

  get #chances(): readonly Chance[] {
    return [...this.earlier.chances, ...this.successors.chances];
  }
}

/** Learned texts by owner: nothing learned from one owner's texts serves another. */
export class LearnedByOwner {
  /** Costs of the engine that all owners share. */
  readonly costs = new StepCosts();
  readonly #owners = new Map<string, LearnedTexts>();
  readonly #maxBytes: number;

  /**
   * @param maxBytes owners whose texts began longest ago go first; one always stays. Default 64 MiB
   * @throws LinnetError `CONFIG` for anything but a whole number
   */
  constructor(maxBytes = 64 << 20) {
    requireCount(maxBytes, 'maxBytes of learned texts', 0, 'CONFIG');
    this.#maxBytes = maxBytes;
  }

  /** An owner's learned texts; undefined if there are none. */
  known(owner: string): LearnedTexts | undefined {
    return this.#owners.get(owner);
  }

  /** An owner's learned texts, now the last to be dropped. */
  of(owner: string): LearnedTexts {
    const learned = this.#owners.get(owner) ?? new LearnedTexts();
    this.#owners.delete(owner);
    this.#owners.set(owner, learned);
    let bytes = [...this.#owners.values()].reduce((sum, each) => sum + each.bytes, 0);
    for (const [oldest, { bytes: freed }] of this.#owners) {
      if (bytes <= this.#maxBytes || oldest === owner) break;
      this.#owners.delete(oldest);
      bytes -= freed;
    }
    return learned;
  }
}

/** Bounds on `lookupDrafter`'s drafts. */
export interface LookupOptions {
  /** Most nodes in a draft, including the root. Default 32. */
  readonly maxNodes?: number;
}

/**
 * Prompt lookup for one text: continues it as it continued after earlier occurrences of its last tokens, in the text itself
 * or in the text an encoder read. Equals `suffix` without earlier texts.
 * @throws LinnetError `CONFIG` for a bound that is not a whole number of at least 1
 * @example
 * ```ts
 * const method = speculative(lookupDrafter());
 * ```
 */
export function lookupDrafter(options: LookupOptions = {}): Drafter {
  requireOptions(options, 'the options of lookup');
  const { maxNodes = 32 } = options;
  requireCount(maxNodes, 'maxNodes of lookup', 1, 'CONFIG');
  return growingDrafter('lookup', [suffixGuesser(new EarlierTexts(1))], maxNodes);
}

/** Makes one text's drafter. */
export const drafterMakers: Readonly<Record<Exclude<DrafterName, 'off'>, (learned: LearnedTexts) => Drafter>> = {
  lookup: () => lookupDrafter(),
  suffix: ({ earlier }) => growingDrafter('suffix', [suffixGuesser(earlier)]),
  recycle: ({ successors }) => growingDrafter('recycle', [recyclingGuesser(successors)], 16),
  auto: ({ earlier, successors }) => growingDrafter('auto', [suffixGuesser(earlier), recyclingGuesser(successors)]),
};
