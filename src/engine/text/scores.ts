/** Log-probabilities of tokens, as the APIs report them: of the model's own distribution, before any sampling setting. */
import { logSumExp } from '../../decoding/log-sum-exp.ts';
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import { internalError } from '../../errors.ts';
import { largest } from '../../graph/largest.ts';

/** How probable a token was, and which were the most probable ones. */
export interface TokenScore {
  readonly token: number;
  /** Natural logarithm of the probability. */
  readonly logprob: number;
  /** 1 for the most probable token; of equals those of lower ids come first. */
  readonly rank: number;
  /** The most probable tokens, in descending order, lower ids first among equals. */
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

/**
 * Scores a token. Equal tokens get the same number, bit for bit, as `token` and in `top`.
 * @param logits [V]
 * @param count how many of the most probable tokens are wanted
 */
export function scoreToken(logits: Float32Array, token: number, count: number): TokenScore {
  const normalizer = logSumExp(logits);
  const logprob = (id: number): number => logits[id] - normalizer;
  return {
    token,
    logprob: logprob(token),
    rank: rankOf(logits, token),
    top: Array.from(largest(logits, count), (id) => ({ token: id, logprob: logprob(id) })),
  };
}

function rankOf(values: ArrayLike<number>, token: number): number {
  const own = values[token];
  let rank = 1;
  for (let other = 0; other < values.length; other++) {
    if (values[other] > own || (values[other] === own && other < token)) rank++;
  }
  return rank;
}

/** The distribution that scores are of: the model's own, or the sampler's after its filters. */
export type ScoredDistribution = 'model' | 'sampler';

/**
 * One token a round, each with its score.
 * @param record called for every token when it is chosen, one that ends the text included
 */
export function scoredMethod(
  count: number,
  record: (score: TokenScore) => void,
  distribution: ScoredDistribution = 'model',
): DecodingMethod {
  return (prompt) => {
    const inner = sequential(prompt);
    return {
      ...inner,
      async conclude(text, outputs) {
        const logits = outputs.length === 0 ? prompt.logits : outputs[0].logits[0];
        // Before the token is drawn; looking at probabilities draws nothing.
        const probabilities = distribution === 'sampler' ? prompt.sampler.probabilities(logits, text) : undefined;
        const [token] = await inner.conclude(text, outputs);
        if (token === undefined) throw internalError('a round without a token');
        record(probabilities === undefined ? scoreToken(logits, token, count) : scoreOf(probabilities, token, count));
        return [token];
      },
    };
  };
}

/** A score of probabilities [V], where a token that cannot be has a logarithm of −∞. */
function scoreOf(probabilities: Float64Array, token: number, count: number): TokenScore {
  const top = Array.from(largest(probabilities, count), (id) => ({ token: id, logprob: Math.log(probabilities[id]) }));
  return { token, logprob: Math.log(probabilities[token]), rank: rankOf(probabilities, token), top };
}
