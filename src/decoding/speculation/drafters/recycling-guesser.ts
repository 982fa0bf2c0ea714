/**
 * Token recycling (arXiv 2408.08696): the tokens that the model found likeliest after a token, the last time it read that token
 * anywhere, are guesses of what follows it. They come from logits that were computed anyway, those of rejected nodes included.
 */
import type { DraftContext, ReadDraft } from './drafter.ts';
import { Chance, type Guesser, type DraftPlace } from './guesser.ts';

/** Successors of a token. */
const ranks = 8;
/** Of rounds without drafts every eighth is learned from: learning takes a share of a short step. */
const everyRound = 8;

/** The likeliest successors of the tokens that a model has read. */
export class Successors {
  /** [V, ranks]: token + 1, 0 where nothing is known; made with the first logits, pages that are not touched take no memory. */
  #tokens = new Int32Array(0);
  /** How often the successor of a rank came true. */
  readonly #chances = [0.35, 0.1, 0.06, 0.04, 0.03, 0.02, 0.02, 0.01].map((value) => new Chance(value));

  get bytes(): number {
    return this.#tokens.byteLength;
  }

  learn(token: number, logits: Float32Array): void {
    if (this.#tokens.length === 0) this.#tokens = new Int32Array(ranks * logits.length);
    const row = this.#tokens.subarray(ranks * token, ranks * (token + 1)).fill(0);
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

  /** The place after a token. */
  after(token: number): DraftPlace {
    const guesses = [...this.#tokens.subarray(ranks * token, ranks * (token + 1))].flatMap((next, rank) =>
      next === 0 ? [] : { token: next - 1, share: 1, chance: this.#chances[rank] },
    );
    return { guesses, after: (next) => this.after(next) };
  }
}

export class RecyclingGuesser implements Guesser {
  readonly #successors: Successors;
  /** Rounds without drafts. */
  #alone = 0;

  constructor(successors: Successors) {
    this.#successors = successors;
  }

  begin({ root }: DraftContext): DraftPlace {
    return this.#successors.after(root);
  }

  accepted(_tokens: readonly number[], { tokens, logits }: ReadDraft): void {
    if (tokens.length === 1 && ++this.#alone % everyRound !== 0) return;
    for (let node = 0; node < tokens.length; node++) this.#successors.learn(tokens[node], logits[node]);
  }
}
