/** Guessers say, place by place, which tokens may follow and how often such a guess comes true: what trees are grown from. */
import type { DraftContext, ReadDraft } from './drafter.ts';

/** Chances count as many rounds as this at most, so that they follow the texts. */
const remembered = 256;
/** Weight of the first assumption, in guesses. */
const assumed = 8;

/** How often guesses of a kind came true. Counts are float32, as files keep them. */
export class Chance {
  #hits: number;
  #tries = assumed;

  /** @param value the share to begin with */
  constructor(value: number) {
    this.#hits = Math.fround(assumed * value);
  }

  /** Whether no guess has been counted. */
  get isAssumed(): boolean {
    return this.#tries === assumed;
  }

  /** Guesses that came true, and all. */
  get counts(): readonly [number, number] {
    return [this.#hits, this.#tries];
  }

  /** Takes over the counts of another where those are of more guesses. */
  take(hits: number, tries: number): void {
    if (tries > this.#tries) [this.#hits, this.#tries] = [hits, tries];
  }

  get value(): number {
    return this.#hits / this.#tries;
  }

  record(hit: boolean): void {
    if (this.#tries >= remembered) {
      this.#tries /= 2;
      this.#hits /= 2;
    }
    this.#tries++;
    if (hit) this.#hits = Math.fround(this.#hits + 1);
  }
}

/** A token that may follow: with probability `share` × `chance`. */
export interface Guess {
  readonly token: number;
  readonly share: number;
  readonly chance: Chance;
  /** See `Draft.source`. */
  readonly source: string;
}

/** A place in the tree: the text, then a path of guesses. */
export interface DraftPlace {
  /** Guesses of the next token, the likeliest first. */
  readonly guesses: readonly Guess[];
  /** The place after one token more. */
  after(token: number): DraftPlace;
}

/** Guesses for one text. Its memory outlives the text. */
export interface Guesser {
  /** The place after the last token of the text. */
  begin(context: DraftContext): DraftPlace;
  /** Learns from a round: the tokens that followed the root, and the nodes that the model has read. */
  accepted?(tokens: readonly number[], read: ReadDraft): void;
  /** The text has ended. */
  ended?(): void;
}
