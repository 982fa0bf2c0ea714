/** What a request took, in the words of llama.cpp. */
import type { ServiceEvent } from '../../engine/text/text-service.ts';

type PromptEvent = Extract<ServiceEvent, { type: 'prompt' }>;
type ProgressEvent = Extract<ServiceEvent, { type: 'progress' }>;
type EndEvent = Extract<ServiceEvent, { type: 'end' }>;

/** Tokens and milliseconds of prompt and answer. */
export function timingsOf({ cached, seconds }: Pick<PromptEvent, 'cached' | 'seconds'>, { generation }: EndEvent) {
  return timings({
    cached,
    read: generation.promptTokens - cached,
    readSeconds: seconds + generation.prefillSeconds,
    written: generation.tokens.length,
    writeSeconds: generation.decodeSeconds,
  });
}

/** What there was to do, and how long it took. */
interface Work {
  readonly cached: number;
  readonly read: number;
  readonly readSeconds: number;
  readonly written: number;
  readonly writeSeconds: number;
}

export function timings({ cached, read, readSeconds, written, writeSeconds }: Work) {
  return { cache_n: cached, ...rates('prompt', read, readSeconds), ...rates('predicted', written, writeSeconds) };
}

function rates(what: string, count: number, seconds: number): Record<string, number> {
  return {
    [`${what}_n`]: count,
    [`${what}_ms`]: 1000 * seconds,
    [`${what}_per_token_ms`]: count === 0 ? 0 : (1000 * seconds) / count,
    [`${what}_per_second`]: seconds === 0 ? 0 : count / seconds,
  };
}

/** How far the prompt is. */
export function progressOf({ done, total, cached, seconds }: ProgressEvent) {
  return { total, cache: cached, processed: done, time_ms: Math.round(1000 * seconds) };
}
