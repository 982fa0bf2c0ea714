/** Timings in the words of llama.cpp, and `linnet`, a field of streams for `stream_options: {"include_tree": true}`. */
import type { EndEvent, PromptEvent } from '../../../engine/text-job.ts';
import type { TokenPieces } from '../../../engine/text/token-pieces.ts';
import type { Piece, TextRecord } from './dialect.ts';

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

/** Tokens of the prompt that have been read. */
export function progressOf({ done, total, cached, seconds }: PromptEvent) {
  return { total, cache: cached, processed: done, time_ms: Math.round(1000 * seconds) };
}

/** The trees of speculative decoding with their accepted paths, the length of the text, and the size of its state. */
export function insightOf(piece: Piece, pieces: TokenPieces): object {
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
