/** Scores in step with a text that is given out piece by piece: none appears before the text of its token is certain. */
import { TextStream } from '../../tokenizer/text-stream.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TokenScore } from './scores.ts';

/** A score, and where its token begins in the text, in UTF-16 units. */
export interface PlacedScore extends TokenScore {
  readonly offset: number;
}

export class ScoreStream {
  readonly #stream: TextStream;
  readonly #waiting: (PlacedScore & { readonly end: number })[] = [];
  /** Characters of all tokens so far. */
  #length = 0;
  /** Characters that have been given out. */
  #given = 0;

  /** @param context tokens before the text */
  constructor(tokenizer: Tokenizer, context: readonly number[]) {
    this.#stream = new TextStream(tokenizer, context);
  }

  /** A token was chosen. */
  push(score: TokenScore): void {
    const offset = this.#length;
    this.#length += this.#stream.push(score.token).length;
    this.#waiting.push({ ...score, offset, end: this.#length });
  }

  /** Counts characters given out, and returns the scores of tokens that now lie wholly within the text given out. */
  take(characters: number): PlacedScore[] {
    this.#given += characters;
    const ready = this.#waiting.findIndex(({ end }) => end > this.#given);
    return this.#waiting.splice(0, ready < 0 ? this.#waiting.length : ready);
  }

  /** Ends the text and returns the remaining scores; after a stop string, only of tokens that begin before it. */
  finish(stoppedByString: boolean): PlacedScore[] {
    const rest = this.#waiting.splice(0);
    return stoppedByString ? rest.filter(({ offset }) => offset < this.#given) : rest;
  }
}
