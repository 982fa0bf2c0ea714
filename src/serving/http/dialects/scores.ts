/** Log-probabilities in the shapes of the dialects, and the names of tokens in them. */
import type { PlacedScore } from '../../../engine/text/score-stream.ts';
import type { TokenScore } from '../../../engine/text/scores.ts';
import type { TokenPieces } from '../../../engine/text/token-pieces.ts';
import type { TextFields } from './text-fields.ts';

type TokenNames = (id: number) => string;

/** The text of a token, or `token_id:N` for clients that want to tell apart tokens that look alike. */
export function tokenNames(
  { return_tokens_as_token_ids: asIds }: Pick<TextFields, 'return_tokens_as_token_ids'>,
  pieces: TokenPieces,
): TokenNames {
  return asIds === true ? (id) => `token_id:${id}` : (id) => pieces.of(id);
}

/** A token of a completion, and where it begins in the text. The first token of a prompt has no score. */
export type CompletionScore = Pick<TokenScore, 'token'> & Partial<TokenScore> & { readonly offset: number };

/** In the shape of /v1/completions. */
export function completionLogprobs(scores: readonly CompletionScore[], names: TokenNames) {
  return {
    tokens: scores.map(({ token }) => names(token)),
    token_logprobs: scores.map(({ logprob = null }) => logprob),
    top_logprobs: scores.map(({ token, logprob, top = [] }) => {
      if (logprob === undefined) return null;
      const byName = new Map<string, number>();
      // Tokens of equal text share the entry of the more probable one, which comes first.
      for (const other of [...top, { token, logprob }]) {
        const name = names(other.token);
        if (!byName.has(name)) byName.set(name, other.logprob);
      }
      return Object.fromEntries(byName);
    }),
    text_offset: scores.map(({ offset }) => offset),
  };
}

/** In the shape of chats. */
export function chatLogprobs(scores: readonly TokenScore[], names: TokenNames, pieces: TokenPieces) {
  const entry = (token: number, logprob: number) => ({ token: names(token), logprob, bytes: pieces.bytesOf(token) });
  const content = scores.map(({ token, logprob, top }) => ({
    ...entry(token, logprob),
    top_logprobs: top.map((other) => entry(other.token, other.logprob)),
  }));
  return { content, refusal: null };
}

/** In the shape of llama.cpp. @param after whether they are probabilities after sampling */
export function nativeProbabilities(scores: readonly PlacedScore[], pieces: TokenPieces, after: boolean) {
  const entry = (id: number, logprob: number) => ({
    id,
    token: pieces.of(id),
    bytes: pieces.bytesOf(id) ?? [],
    ...(after ? { prob: Math.exp(logprob) } : { logprob }),
  });
  return scores.map(({ token, logprob, top }) => ({
    ...entry(token, logprob),
    [after ? 'top_probs' : 'top_logprobs']: top.map((other) => entry(other.token, other.logprob)),
  }));
}

/**
 * `prompt_logprobs`, a field of vLLM: for each token of the prompt, by token id, that token and the most probable ones; null
 * for the first.
 * @param scores of all tokens but the first, each with at least `count` of the most probable ones
 */
export function promptLogprobs(scores: readonly TokenScore[], count: number, names: TokenNames) {
  const places = scores.map(({ token, logprob, rank, top }) => {
    const best = top.slice(0, count).map((other, index) => ({ ...other, rank: index + 1 }));
    return Object.fromEntries(
      [...best, { token, logprob, rank }].map((entry) => [
        String(entry.token),
        { logprob: entry.logprob, rank: entry.rank, decoded_token: names(entry.token) },
      ]),
    );
  });
  return [null, ...places];
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
