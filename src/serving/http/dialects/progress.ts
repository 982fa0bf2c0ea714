/** Timings in the words of llama.cpp, and `linnet`, a field of streams for `stream_options: {"include_tree": true}`. */
import type { EndEvent, PromptEvent } from '../../../engine/text-job.ts';
import type { TokenPieces } from '../../../engine/text/token-pieces.ts';
import { identityOf, type Serving } from '../request-context.ts';
import { type Piece, type TextRecord, usageOf } from './dialect.ts';
import { promptLogprobs, tokenNames } from './scores.ts';
import type { TextFields } from './text-fields.ts';

/** Tokens and milliseconds of a prompt and a text that has ended. */
export function timingsOf({ cached, seconds }: TextRecord, { generation }: EndEvent) {
  const { promptTokens, prefillSeconds, tokens, decodeSeconds } = generation;
  return timings(cached, promptTokens - cached, seconds + prefillSeconds, tokens.length, decodeSeconds);
}

/** The same of a text that is being written. */
export function timingsSoFar({ cached, prompt, seconds, began }: TextRecord, written: number) {
  const writeSeconds = written === 0 ? 0 : (performance.now() - began) / 1000;
  return timings(cached, prompt.length - cached, seconds, written, writeSeconds);
}

function timings(cached: number, read: number, seconds: number, written: number, writeSeconds: number) {
  return { cache_n: cached, ...rates('prompt', read, seconds), ...rates('predicted', written, writeSeconds) };
}

function rates(what: string, count: number, seconds: number): Record<string, number> {
  return {
    [`${what}_n`]: count,
    [`${what}_ms`]: 1000 * seconds,
    [`${what}_per_token_ms`]: count === 0 ? 0 : (1000 * seconds) / count,
    [`${what}_per_second`]: seconds === 0 ? 0 : count / seconds,
  };
}

export function progressOf({ done, total, cached, seconds }: PromptEvent) {
  return { total, cache: cached, processed: done, time_ms: Math.round(1000 * seconds) };
}

/** The trees of speculative decoding with their accepted paths, the length of the text, and the size of its state. */
function insightOf(piece: Piece, pieces: TokenPieces): object {
  const { record } = piece;
  // Several choices have states of their own, of which the first is reported.
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
  const { return_token_ids: withIds, stream_options: options, prompt_logprobs: promptTop } = fields;
  const { pieces } = serving.model;
  const names = tokenNames(fields, pieces);
  return {
    names,
    identity: { created: Math.floor(Date.now() / 1000), ...identityOf(serving, fields.model) },
    idsOf: (tokens: readonly number[]) => (withIds === true ? { token_ids: tokens } : {}),
    promptIds: ({ prompt }: TextRecord) => (withIds === true ? { prompt_token_ids: prompt } : {}),
    promptScores: ({ scores }: TextRecord) =>
      promptTop === undefined ? {} : { prompt_logprobs: promptLogprobs(scores, promptTop, names) },
    usage: () =>
      options?.include_usage === true
        ? { usage: options.continuous_usage_stats === true ? usageOf(records) : null }
        : {},
    insight: (piece: Piece) => (options?.include_tree === true ? { linnet: insightOf(piece, pieces) } : {}),
    /** Chunks while the prompt is read. */
    progress: (head: object, event: PromptEvent) =>
      fields.return_progress === true ? [{ ...head, choices: [], prompt_progress: progressOf(event) }] : [],
    /** Chunks at the end of a stream. */
    last: (head: object, more: object = {}) =>
      options?.include_usage === true ? [{ ...head, choices: [], usage: usageOf(records), ...more }] : [],
  };
}
