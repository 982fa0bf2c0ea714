/**
 * Guesses from a suffix tree of the text and of texts served earlier (SuffixDecoding, arXiv 2411.04975). The tree stays
 * implicit: an index finds occurrences of the last tokens, and a tree node is the set of occurrences that agree so far.
 * Their counts give each branch's probability; the match's length decides whether to continue.
 */
import { Chance, type Guess, type Guesser, type DraftPlace } from './growing-drafter.ts';
import { NgramIndex } from './ngram-index.ts';

const lengths = [1, 2, 4, 8];
const visits = 32;
/** Occurrences per index that make up the tree. */
const occurrences = 32;
/** Matches longer than this count as equally long. */
const longestMatch = 64;
/** Branches per node. */
const branches = 4;
/** Tokens before a text that are kept with it, so that its beginning can be found. */
const lead = 8;

/** Tokens of a text, starting at a place. */
interface Stretch {
  readonly from: number;
  readonly tokens: readonly number[];
}

/** An owner's earlier texts, and how often guesses came true by match length. */
export class EarlierTexts {
  readonly texts: NgramIndex;
  /** By the length's logarithm. */
  readonly chances = [0.25, 0.45, 0.65, 0.8, 0.9, 0.95, 0.97].map((value) => new Chance(value));

  /** The last text's written stretches. */
  #last: Stretch[] = [];
  readonly #most: number;

  /** @param most tokens of texts to keep, a power of two; the oldest go first */
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

  /** A text begins: a new one, which makes the last one an earlier text, or the last one again, continued. */
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

  /** Adds a text, ended by −1, which is no token. */
  add(text: readonly number[]): void {
    for (const token of text) this.texts.push(token);
    this.texts.push(-1);
  }
}

/** A place in a text that continues like the draft. */
interface Occurrence {
  readonly index: NgramIndex;
  /** Position of the next token. */
  readonly next: number;
  readonly matched: number;
}

export function suffixGuesser(earlier: EarlierTexts): Guesser {
  const current = new NgramIndex(lengths, { visits });
  /** Tokens before the first draft, and all since: kept once the text has ended. */
  const written: number[] = [];
  /** Where they start in the text; undefined before the first draft. */
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
  /** The token after an occurrence; past the end of the text it continues in the draft, a repetition. −1 for none. */
  const following = ({ index, next }: Occurrence): number => index.following(next, index === current ? path : []);
  const weights = new Map<number, number>();
  let total = 0;
  let longest = 0;
  // Occurrences in the text itself first.
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
