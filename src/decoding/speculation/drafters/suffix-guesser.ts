/**
 * Guesses from a suffix tree of the text and of texts served earlier (SuffixDecoding, arXiv 2411.04975). The tree is not built:
 * occurrences of the last tokens are found in an index, and a node of the tree is the occurrences that agree so far. How many
 * take each branch says how likely it is, how long the match is whether to go on.
 */
import { Chance, type Guess, type Guesser, type DraftPlace } from './growing-drafter.ts';
import { NgramIndex } from './ngram-index.ts';

const lengths = [1, 2, 4, 8];
const visits = 32;
/** Occurrences that make up the tree, of each index. */
const occurrences = 32;
/** Longest match that is told from longer ones. */
const longestMatch = 64;
/** Branches of a node. */
const branches = 4;
/** Tokens before a text that are kept with it, so that its beginning is found. */
const lead = 8;

/** Tokens of a text from a place on. */
interface Stretch {
  readonly from: number;
  readonly tokens: readonly number[];
}

/** Earlier texts of an owner, and how often guesses from matches of a length came true. */
export class EarlierTexts {
  readonly texts: NgramIndex;
  /** By the logarithm of the length. */
  readonly chances = [0.25, 0.45, 0.65, 0.8, 0.9, 0.95, 0.97].map((value) => new Chance(value));

  /** The written stretches of the last text. */
  #last: Stretch[] = [];
  readonly #most: number;

  /** @param most tokens of texts that are kept, a power of two; the oldest go first */
  constructor(most: number) {
    this.texts = new NgramIndex(lengths, { most, visits });
    this.#most = most;
  }

  get bytes(): number {
    return this.texts.bytes + Float64Array.BYTES_PER_ELEMENT * this.#waiting;
  }

  /** Tokens of the last text. */
  get #waiting(): number {
    return this.#last.reduce((sum, { tokens }) => sum + tokens.length, 0);
  }

  chance(matched: number): Chance {
    return this.chances[Math.min(this.chances.length - 1, 31 - Math.clz32(matched))];
  }

  /** A text begins: another than the last one, which is an earlier text then, or the last one again, which goes on. */
  begin(text: readonly number[]): void {
    if (!this.#last.every(({ from, tokens }) => tokens.every((token, i) => token === text[from + i]))) this.#addLast();
  }

  /** A text has ended, for now. */
  ended(stretch: Stretch): void {
    this.#last.push(stretch);
    if (this.#waiting > this.#most) this.#addLast();
  }

  #addLast(): void {
    for (const { tokens } of this.#last) this.add(tokens);
    this.#last = [];
  }

  /** Adds a text. It ends where −1, which is no token, follows. */
  add(text: readonly number[]): void {
    for (const token of text) this.texts.push(token);
    this.texts.push(-1);
  }
}

/** A place in a text that continues as the draft does. */
interface Occurrence {
  readonly index: NgramIndex;
  /** Position of what follows. */
  readonly next: number;
  readonly matched: number;
}

export function suffixGuesser(earlier: EarlierTexts): Guesser {
  const current = new NgramIndex(lengths, { visits });
  /** Tokens before the first draft, and all since: they are kept once the text has ended. */
  const written: number[] = [];
  /** Where they begin in the text; undefined before the first draft. */
  let from: number | undefined;
  return {
    begin({ tokens, state }) {
      if (from === undefined) {
        earlier.begin(tokens);
        const end = tokens.length - written.length;
        from = Math.max(0, end - lead);
        written.unshift(...tokens.slice(from, end));
      }
      current.extend(tokens, state.encoded?.tokens);
      const found = [current, earlier.texts].flatMap((index) =>
        index
          .occurrences(tokens, occurrences)
          .map((position) => ({ index, next: position + 1, matched: index.matched(position, tokens, longestMatch) })),
      );
      return suffixPlace(earlier, current, found, []);
    },
    accepted(tokens) {
      for (const token of tokens) written.push(token);
    },
    ended() {
      if (from !== undefined) earlier.ended({ from, tokens: written });
      else if (written.length > 0) earlier.add(written);
    },
  };
}

function suffixPlace(
  earlier: EarlierTexts,
  current: NgramIndex,
  occurrences: readonly Occurrence[],
  path: readonly number[],
): DraftPlace {
  /** What follows an occurrence: past the end of the text it goes on in the draft, a repetition. −1 for nothing. */
  const following = ({ index, next }: Occurrence): number => index.following(next, index === current ? path : []);
  const weights = new Map<number, number>();
  let total = 0;
  let longest = 0;
  // Occurrences in the text come first.
  let inText = 0;
  for (const occurrence of occurrences) {
    const token = following(occurrence);
    if (token < 0) continue;
    const { matched } = occurrence;
    weights.set(token, (weights.get(token) ?? 0) + matched ** 2);
    total += matched ** 2;
    longest = Math.max(longest, matched);
    if (occurrence.index === current) inText = weights.size;
  }
  const chance = earlier.chance(longest);
  const guesses = [...weights]
    .map(([token, weight], at): Guess => {
      return { token, share: weight / total, chance, source: at < inText ? 'this text' : 'earlier texts' };
    })
    .sort((a, b) => b.share - a.share)
    .slice(0, branches);
  const after = (token: number): DraftPlace => {
    const agreeing = occurrences.filter((occurrence) => following(occurrence) === token);
    const longer = agreeing.map(({ index, next, matched }) => ({ index, next: next + 1, matched: matched + 1 }));
    return suffixPlace(earlier, current, longer, [...path, token]);
  };
  return { guesses, after };
}
