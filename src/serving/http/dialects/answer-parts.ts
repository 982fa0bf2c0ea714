/**
 * Parts that answers of several dialects have: log-probabilities and the names of tokens in them, timings in the words of
 * llama.cpp, and `linnet`, a field of streams for `stream_options: {"include_tree": true}`.
 */
import type { EndEvent, PromptEvent } from '../../../engine/text-job.ts';
import type { PlacedScore, TokenScore } from '../../../engine/text/scores.ts';
import type { TokenPieces } from '../../../engine/text/token-pieces.ts';
import type { Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { answeredName, type Serving } from '../request-context.ts';
import type { ChoiceRecord, Piece, TextRecord } from './records.ts';
import type { TextFields } from './text-fields.ts';

type TokenNames = (id: number) => string;

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

/**
 * `prompt_logprobs`, a field of vLLM: for each token of the prompt, by token id, that token and the most probable ones; null
 * for the first.
 * @param scores for all tokens but the first, each with at least the `count` most probable ones
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
export function textOffsets(tokens: readonly number[], tokenizer: Tokenizer): number[] {
  const window = 16;
  let base = 0;
  let start = 0;
  return tokens.map((_, index) => {
    if (index - start >= 2 * window) {
      const [before, kept] = [tokens.slice(start, index), tokens.slice(index - window, index)];
      base += tokenizer.decode(before).length - tokenizer.decode(kept).length;
      start = index - window;
    }
    return base + tokenizer.decode(tokens.slice(start, index)).replace(/\ufffd+$/, '').length;
  });
}

/** Tokens and milliseconds of a prompt and a text that has ended. */
export function timingsOf({ cached }: TextRecord, { generation }: EndEvent): Record<string, number> {
  const { promptTokens, prefillSeconds, tokens, decodeSeconds } = generation;
  return {
    cache_n: cached,
    ...rates('prompt', promptTokens - cached, prefillSeconds),
    ...rates('predicted', tokens.length, decodeSeconds),
  };
}

function rates(what: string, count: number, seconds: number): Record<string, number> {
  return {
    [`${what}_n`]: count,
    [`${what}_ms`]: 1000 * seconds,
    [`${what}_per_token_ms`]: count === 0 ? 0 : (1000 * seconds) / count,
    [`${what}_per_second`]: seconds === 0 ? 0 : count / seconds,
  };
}

function progressOf({ done, total, cached, seconds }: PromptEvent) {
  return { total, cache: cached, processed: done, time_ms: Math.round(1000 * seconds) };
}

/** The trees of speculative decoding with their accepted paths, the length of the text, and the size of its state. */
function insightOf(piece: Piece, pieces: TokenPieces): object {
  const { record } = piece;
  // Each choice has its own state; the first is reported.
  const place = { position: record.state?.length ?? 0, state_bytes: record.state?.bytes ?? 0 };
  if (piece.type === 'end') {
    const { state, tokens, tokensPerSecond, steps } = piece.event.generation;
    return {
      position: state.length,
      state_bytes: state.bytes,
      written: tokens.length,
      rounds: steps,
      tokens_per_second: tokensPerSecond,
    };
  }
  if (piece.type !== 'text') return { ...place, cached: record.cached };
  const trees = piece.event.trees.map(({ tokens, parents, accepted, next }) => ({
    tokens: Array.from(tokens, (token) => pieces.of(token)),
    parents: Array.from(parents),
    accepted,
    next: pieces.of(next),
  }));
  return { ...place, trees };
}

/** Parts that the answers of completions and chats share. */
export function openAiParts(fields: TextFields, serving: Serving, records: readonly TextRecord[]) {
  const { stream_options: options } = fields;
  const { model } = serving;
  // Clients may want to tell apart tokens that look alike.
  const names: TokenNames =
    fields.return_tokens_as_token_ids === true ? (id) => `token_id:${id}` : (id) => model.pieces.of(id);
  return {
    names,
    identity: {
      created: Math.floor(Date.now() / 1000),
      model: answeredName(serving, fields.model),
      system_fingerprint: `b${model.fingerprint.slice(0, 12)}`,
    },
    usage: () =>
      options?.include_usage === true
        ? { usage: options.continuous_usage_stats === true ? usageOf(records) : null }
        : {},
    insight: (piece: Piece) => (options?.include_tree === true ? { linnet: insightOf(piece, model.pieces) } : {}),
    /** Chunks while the prompt is read. */
    progress: (head: object, event: PromptEvent) =>
      fields.return_progress === true ? [{ ...head, choices: [], prompt_progress: progressOf(event) }] : [],
    /** Chunks at the end of a stream. */
    last: (head: object, more: object = {}) =>
      options?.include_usage === true ? [{ ...head, choices: [], usage: usageOf(records), ...more }] : [],
  };
}

export function finishOf({ generation }: EndEvent): 'length' | 'stop' {
  return generation.finish === 'length' ? 'length' : 'stop';
}

/** Scores of the tokens of a text; the token that ended it is not in it. */
export function visibleScores({ scores, end }: ChoiceRecord): readonly PlacedScore[] {
  return [...scores, ...(end?.scores ?? [])].slice(0, end?.generation.tokens.length);
}

export function usageOf(records: readonly TextRecord[]) {
  let [prompt, written, cached, thoughts] = [0, 0, 0, 0];
  for (const record of records) {
    prompt += record.prompt.length;
    cached += record.cached;
    const { thinking, prompt: read } = record.job;
    for (const { tokens, end } of record.choices) {
      written += tokens.length;
      if (end !== undefined) thoughts += thinking?.count(read.tokens, tokens) ?? 0;
    }
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: written,
    total_tokens: prompt + written,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: thoughts },
  };
}
