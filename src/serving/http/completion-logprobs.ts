/** Log-probabilities in the shape of /v1/completions. */
import type { TokenScore } from '../../engine/text/scores.ts';
import type { TokenNames } from './token-names.ts';

/** Those of a text, token by token. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

/** Where each token of a text begins in it. Tokens are decoded in growing pieces, short enough to stay linear. */
export function textOffsets(tokens: readonly number[], decode: (ids: Iterable<number>) => string): number[] {
  const window = 16;
  let base = 0;
  let start = 0;
  return tokens.map((_, index) => {
    if (index - start >= 2 * window) {
      base += decode(tokens.slice(start, index)).length - decode(tokens.slice(index - window, index)).length;
      start = index - window;
    }
    return base + decode(tokens.slice(start, index)).replace(/\ufffd+$/, '').length;
  });
}

/** Adds a token that begins at `offset`. */
export function addScore(
  target: CompletionLogprobs | null,
  names: TokenNames,
  score: TokenScore,
  offset: number,
): void {
  if (target === null) return;
  const top: Record<string, number> = {};
  // Tokens that look alike share an entry: that of the more probable one, which comes first.
  for (const { token, logprob } of [...score.top, score]) {
    const piece = names(token);
    if (!Object.hasOwn(top, piece)) Object.defineProperty(top, piece, { value: logprob, enumerable: true });
  }
  target.tokens.push(names(score.token));
  target.token_logprobs.push(score.logprob);
  target.top_logprobs.push(top);
  target.text_offset.push(offset);
}

/** Those of a whole text from those of its parts; null where there are none. */
export function joinedLogprobs(parts: readonly CompletionLogprobs[]): CompletionLogprobs | null {
  if (parts.length === 0) return null;
  return {
    tokens: parts.flatMap(({ tokens }) => tokens),
    token_logprobs: parts.flatMap(({ token_logprobs: own }) => own),
    top_logprobs: parts.flatMap(({ top_logprobs: own }) => own),
    text_offset: parts.flatMap(({ text_offset: own }) => own),
  };
}
