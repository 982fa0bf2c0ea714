/** Log-probabilities of tokens, as the APIs report them: the model's own distribution, before any sampling setting. */
import { logSumExp } from '../../decoding/log-sum-exp.ts';
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import { internalError } from '../../errors.ts';
import { largest } from '../../graph/largest.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** A token's probability, and the most probable tokens. */
export interface TokenScore {
  readonly token: number;
  /** Natural logarithm of the probability. */
  readonly logprob: number;
  /** 1 for the most probable token; ties rank lower ids first. */
  readonly rank: number;
  /** The most probable tokens, in descending order, lower ids first on ties. */
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

/**
 * Scores a token. Equal tokens get the same number, bit for bit, as `token` and in `top`.
 * @param logits [V]
 * @param count number of most probable tokens to return
 */
export function scoreToken(logits: Float32Array, token: number, count: number): TokenScore {
  const normalizer = logSumExp(logits);
  const logprob = (id: number): number => logits[id] - normalizer;
  const top = Array.from(largest(logits, count), (id) => ({ token: id, logprob: logprob(id) }));
  return { token, logprob: logprob(token), rank: rankOf(logits, token), top };
}

function rankOf(values: ArrayLike<number>, token: number): number {
  const logprob = values[token];
  let rank = 1;
  for (let other = 0; other < values.length; other++) {
    if (values[other] > logprob || (values[other] === logprob && other < token)) rank++;
  }
  return rank;
}

/**
 * One token per round, each with its score.
 * @param record called for every chosen token, including one that ends the text
 */
export function scoredMethod(count: number, record: (score: TokenScore) => void): DecodingMethod {
  return (prompt) => {
    const inner = sequential(prompt);
    return {
      ...inner,
      async conclude(text, outputs) {
        const logits = outputs.length === 0 ? prompt.logits : outputs[0].logits[0];
        const [token] = await inner.conclude(text, outputs);
        if (token === undefined) throw internalError('a round without a token');
        record(scoreToken(logits, token, count));
        return [token];
      },
    };
  };
}

/** A score, and where its token starts in the text, in UTF-16 units. */
export interface PlacedScore extends TokenScore {
  readonly offset: number;
}

export class ScoreStream {
  readonly #stream: TextStream;
  readonly #waiting: (PlacedScore & { readonly end: number })[] = [];
  /** Characters of all tokens so far. */
  #length = 0;
  /** Characters returned so far. */
  #given = 0;

  /** @param context tokens before the text */
  constructor(tokenizer: Tokenizer, context: readonly number[]) {
    this.#stream = new TextStream(tokenizer, context);
  }

  /** Adds a chosen token. */
  push(score: TokenScore): void {
    const offset = this.#length;
    this.#length += this.#stream.push(score.token).length;
    this.#waiting.push({ ...score, offset, end: this.#length });
  }

  /** Counts returned characters, and returns the scores of tokens that lie wholly within them. */
  take(characters: number): PlacedScore[] {
    this.#given += characters;
    const ready = this.#waiting.findIndex(({ end }) => end > this.#given);
    return this.#waiting.splice(0, ready < 0 ? this.#waiting.length : ready);
  }

  /** Ends the text and returns the remaining scores; after a stop string, only for tokens that start before it. */
  finish(stoppedByString: boolean): PlacedScore[] {
    const rest = this.#waiting.splice(0);
    return stoppedByString ? rest.filter(({ offset }) => offset < this.#given) : rest;
  }
}
