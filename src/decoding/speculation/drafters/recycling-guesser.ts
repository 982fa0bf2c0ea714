/**
 * Token recycling (arXiv 2408.08696): guesses that a token is followed by the tokens the model found likeliest the last
 * time it read that token anywhere. They come from logits computed anyway, including rejected nodes'.
 */
import { Chance, type Guesser, type DraftPlace } from './growing-drafter.ts';

/** Successors of a token. */
const ranks = 8;
/** Learns from every eighth round without drafts: learning takes a share of a short step. */
const everyRound = 8;

/** The likeliest successors of the tokens that a model has read. */
export class Successors {
  /** [V, ranks]: token + 1, 0 if unknown; allocated with the first logits, untouched pages take no memory. */
  #tokens = new Int32Array(0);
  /** How often the successor at a rank came true. */
  readonly chances = [0.35, 0.1, 0.06, 0.04, 0.03, 0.02, 0.02, 0.01].map((value) => new Chance(value));

  get bytes(): number {
    return this.#tokens.byteLength;
  }

  learn(token: number, logits: Float32Array): void {
    const row = this.#row(token, logits.length).fill(0);
    let least = -Infinity;
    for (let candidate = 0; candidate < logits.length; candidate++) {
      const value = logits[candidate];
      if (!(value > least)) continue;
      let rank = ranks - 1;
      for (; rank > 0 && (row[rank - 1] === 0 || logits[row[rank - 1] - 1] < value); rank--) row[rank] = row[rank - 1];
      row[rank] = candidate + 1;
      if (row[ranks - 1] > 0) least = logits[row[ranks - 1] - 1];
    }
  }

  /** At most `most` known tokens from the start, each with its successors, −1 if fewer: [n, 1 + ranks]. */
  rows(most: number): Int32Array {
    const rows: number[] = [];
    for (let at = 0; at < this.#tokens.length && rows.length < most * (1 + ranks); at += ranks) {
      if (this.#tokens[at] === 0) continue;
      rows.push(at / ranks);
      for (let rank = 0; rank < ranks; rank++) rows.push(this.#tokens[at + rank] - 1);
    }
    return Int32Array.from(rows);
  }

  /** Takes over such rows for tokens it does not know. */
  take(rows: Int32Array): void {
    // Last first, so that there is room for all.
    for (let at = rows.length - 1 - ranks; at >= 0; at -= 1 + ranks) {
      const row = this.#row(rows[at], rows[at] + 1);
      if (row[0] === 0) for (let rank = 0; rank < ranks; rank++) row[rank] = rows[at + 1 + rank] + 1;
    }
  }

  /** A token's successors. @param vocabulary least size of the table */
  #row(token: number, vocabulary: number): Int32Array {
    if (this.#tokens.length < ranks * vocabulary) {
      const known = this.#tokens;
      this.#tokens = new Int32Array(ranks * vocabulary);
      this.#tokens.set(known);
    }
    return this.#tokens.subarray(ranks * token, ranks * (token + 1));
  }

  /** The place after a token. */
  after(token: number): DraftPlace {
    const guesses = [...this.#tokens.subarray(ranks * token, ranks * (token + 1))].flatMap((next, rank) =>
      next === 0 ? [] : { token: next - 1, share: 1, chance: this.chances[rank], source: 'recycled' },
    );
    return { guesses, after: (next) => this.after(next) };
  }
}

export function recyclingGuesser(successors: Successors): Guesser {
  /** Rounds without drafts. */
  let alone = 0;
  return {
    begin: ({ root }) => successors.after(root),
    accepted(_tokens, { tokens, logits }) {
      if (tokens.length === 1 && ++alone % everyRound !== 0) return;
      for (let node = 0; node < tokens.length; node++) successors.learn(tokens[node], logits[node]);
    },
  };
}
