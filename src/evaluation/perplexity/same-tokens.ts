/**
 * Cost of the distance from the beginning of a text: the same tokens, scored after less and after more of the text before
 * them. Ranges of one text differ by their content as well as by their position; here only the position differs.
 */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError, type Watched } from '../../errors.ts';
import { average, meanError } from '../../report/statistics.ts';
import { stepLosses } from './losses.ts';

/** Options; told of tokens read, of all depths together. */
interface SameTokensOptions extends Watched {
  /** Tokens read before the first scored one, BOS included, each at least 1. */
  readonly after: readonly number[];
  /** Tokens at the end of the text that are scored, at least 2. */
  readonly scored: number;
  /** Tokens in front of every part of the text, as in front of the whole. Default: none. */
  readonly begin?: readonly number[];
}

/**
 * Losses of the last `scored` tokens of a text after different numbers of the tokens before them, in rising order.
 * @param tokens the text without `begin`
 * @throws LinnetError `INPUT` for a text that is too short, `MISMATCH` for a token outside the vocabulary, `ABORTED` when the
 *   signal fires
 */
export async function sameTokenLosses(
  engine: StepEngine,
  tokens: Int32Array,
  { after, scored, begin = [], signal, onProgress }: SameTokensOptions,
) {
  const depths = [...new Set(after)].sort((a, b) => a - b);
  const needed = Math.max(0, ...depths) - begin.length + scored;
  if (depths.length === 0 || scored < 2 || tokens.length < needed) {
    throw new LinnetError(
      'INPUT',
      `${tokens.length} tokens of text, ${scored} of them scored after ${after.join(', ') || 'no number of'} tokens: ` +
        `expected depths, at least 2 scored tokens and a text of ${needed}; give more text or ask for less`,
    );
  }
  const total = depths.reduce((sum, depth) => sum + depth + scored - 1, 0);
  const results = [];
  let first: Float32Array | undefined;
  let read = 0;
  for (const depth of depths) {
    const before = tokens.subarray(tokens.length - scored - (depth - begin.length), tokens.length);
    const window = { tokens: Int32Array.from([...begin, ...before]), scoredFrom: 1 };
    const { losses, stateBytes } = await stepLosses(engine, window, {
      signal,
      onProgress: (done) => onProgress?.(read + done, total),
    });
    read += losses.length;
    const last = losses.slice(losses.length - scored);
    first ??= last;
    // Perplexity divided by that after the fewest tokens. Its error takes neighbours as independent.
    const differences = Array.from(last, (loss, i) => loss - (first?.[i] ?? loss));
    const ratio = Math.exp(average(differences));
    const ratioError = ratio * meanError(differences);
    results.push({ after: depth, perplexity: Math.exp(average(last)), ratio, ratioError, stateBytes });
  }
  return results;
}
