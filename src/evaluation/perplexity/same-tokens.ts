/**
 * The cost of distance from a text's beginning: scores the same tokens after less and after more of the preceding text.
 * Ranges of one text differ in content as well as position; here only the position differs.
 */
import { sort } from 'd3-array';
import { LinnetError, type Watched } from '../../errors.ts';
import { average, meanError } from '../../report/statistics.ts';
import type { ReadLosses } from './losses.ts';

/** Options; reports tokens read, all depths together. */
interface SameTokensOptions extends Watched {
  /** Tokens read before the first scored one, BOS included, each at least 1. */
  readonly after: readonly number[];
  /** Scored tokens at the end of the text, at least 2. */
  readonly scored: number;
  /** Tokens before every part of the text, as before the whole. Default: none. */
  readonly begin?: readonly number[];
}

/**
 * Losses of a text's last `scored` tokens after different numbers of the tokens before them, in rising order.
 * @param tokens the text without `begin`
 * @throws LinnetError `INPUT` for a text that is too short, `MISMATCH` for a token outside the vocabulary, `ABORTED` when the
 *   signal fires
 */
export async function sameTokenLosses(
  read: ReadLosses,
  tokens: Int32Array,
  { after, scored, begin = [], ...watch }: SameTokensOptions,
) {
  const depths = sort(new Set(after));
  const needed = Math.max(0, ...depths) - begin.length + scored;
  if (depths.length === 0 || scored < 2 || tokens.length < needed) {
    throw new LinnetError(
      'INPUT',
      `${tokens.length} tokens of text, ${scored} of them scored after ${after.join(', ') || 'no number of'} tokens: ` +
        `expected depths, at least 2 scored tokens and a text of ${needed}; give more text or ask for less`,
    );
  }
  const windows = depths.map((depth) => {
    const before = tokens.subarray(tokens.length - scored - (depth - begin.length), tokens.length);
    return { tokens: Int32Array.from([...begin, ...before]), scoredFrom: depth };
  });
  const parts = (await read(windows, watch)).map(({ losses, stateBytes }) => {
    return { last: losses.slice(losses.length - scored), stateBytes };
  });
  const [first] = parts;
  return parts.map(({ last, stateBytes }, index) => {
    // Perplexity over perplexity after the fewest tokens. Its error treats neighbors as independent.
    const differences = Array.from(last, (loss, i) => loss - first.last[i]);
    const ratio = Math.exp(average(differences));
    const ratioError = ratio * meanError(differences);
    return { after: depths[index], perplexity: Math.exp(average(last)), ratio, ratioError, stateBytes };
  });
}
