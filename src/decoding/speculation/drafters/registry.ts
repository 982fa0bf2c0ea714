/** Drafters by name that need no model of their own, and their memory of the texts of an owner. */
import { requireCount } from '../../../files/arguments.ts';
import { StepCosts } from '../step-costs.ts';
import type { Drafter } from './drafter.ts';
import { GrowingDrafter } from './growing-drafter.ts';
import { LookupDrafter } from './lookup-drafter.ts';
import { RecyclingGuesser, Successors } from './recycling-guesser.ts';
import { EarlierTexts, SuffixGuesser } from './suffix-guesser.ts';

/** Names of drafters that a job may have. The text is the same with each of them. */
export const drafters = ['off', 'lookup', 'suffix', 'recycle', 'auto'] as const;
/** One of `drafters`. */
export type DrafterName = (typeof drafters)[number];

/** Tokens that are kept of the texts of an owner: 4.5 MiB with their index. */
const mostTokens = 2 ** 17;

/** Learned from the texts of one owner. */
export class LearnedTexts {
  readonly earlier = new EarlierTexts(mostTokens);
  readonly successors = new Successors();

  /** Memory of the learned texts, in bytes. */
  get bytes(): number {
    return this.earlier.texts.bytes + this.successors.bytes;
  }
}

/** Learned texts by owner: nothing learned from the texts of one is used for another. */
export class LearnedByOwner {
  /** Of the engine that all of them share. */
  readonly costs = new StepCosts();
  readonly #owners = new Map<string, LearnedTexts>();
  readonly #maxBytes: number;

  /**
   * @param maxBytes the owners whose texts were begun least recently go first; one always stays. Default 64 MiB
   * @throws LinnetError `CONFIG` for anything but a whole number
   */
  constructor(maxBytes = 64 << 20) {
    requireCount(maxBytes, 'maxBytes of learned texts', 0, 'CONFIG');
    this.#maxBytes = maxBytes;
  }

  /** The learned texts of an owner, the last that goes from now on. */
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

/** Makes the drafter of one text. */
export const drafterMakers: Readonly<Record<Exclude<DrafterName, 'off'>, (learned: LearnedTexts) => Drafter>> = {
  lookup: () => new LookupDrafter(),
  suffix: ({ earlier }) => new GrowingDrafter('suffix', [new SuffixGuesser(earlier)]),
  recycle: ({ successors }) => new GrowingDrafter('recycle', [new RecyclingGuesser(successors)], { maxNodes: 16 }),
  auto: ({ earlier, successors }) =>
    new GrowingDrafter('auto', [new SuffixGuesser(earlier), new RecyclingGuesser(successors)]),
};
