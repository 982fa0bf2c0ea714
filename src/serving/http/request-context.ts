/** What handlers have at hand. */
import type { ResponseStore } from '../sessions/response-store.ts';
import type { Embeddings } from '../text/embeddings.ts';
import type { Slots } from '../sessions/slots.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { TextService } from '../text/text-service.ts';
import type { ServedModel } from '../served-model.ts';
import { ApiError } from './api-error.ts';
import type { ServerLimits } from './limits.ts';

/** What a server serves, and within which limits. */
export interface Serving {
  readonly model: ServedModel;
  readonly texts: TextService;
  readonly sessions: Sessions;
  readonly slots: Slots;
  readonly responses: ResponseStore;
  readonly embeddings: Embeddings;
  readonly limits: ServerLimits;
}

/** One request, checked as far as it does not depend on the endpoint. */
export interface ApiRequest {
  /** Parsed JSON. */
  readonly body: unknown;
  /** Whose request it is: the name of an API key, or ''. */
  readonly key: string;
  /** Secret of this process and the key: beginnings of texts are shared within it. */
  readonly salt: string;
  /** Ends what was asked for: the client is gone, or the time is over. */
  readonly abort: AbortController;
}

/** @throws ApiError where a request names another model */
export function checkModel({ model }: Serving, asked: string | undefined): void {
  if (asked === undefined || asked === '' || asked === model.name) return;
  throw new ApiError('not_found_error', `there is no model "${asked.slice(0, 100)}" here; this is "${model.name}"`, {
    param: 'model',
  });
}

/** The model in answers, and what of it and of us answers depend on. */
export function identityOf({ model }: Serving) {
  return { model: model.name, system_fingerprint: `b${model.fingerprint.slice(0, 12)}` };
}

/**
 * How many tokens may be written after a prompt.
 * @throws ApiError for a prompt that is too long
 */
export function tokensLeft({ model, limits }: Serving, promptLength: number, asked: number): number {
  const positions = model.engine.model.positions.limit;
  const most = Math.min(limits.promptTokens, positions - 1);
  if (promptLength > most) {
    throw new ApiError(
      'exceed_context_size_error',
      `the prompt has ${promptLength} tokens, which exceeds the available context size of ${most}; ask with less`,
      { param: 'prompt', details: { n_prompt_tokens: promptLength, n_ctx: most } },
    );
  }
  return Math.min(asked, limits.maxTokens, positions - promptLength);
}

/** Tokens of a request, as the APIs count them. */
export function usageOf(promptTokens: number, completionTokens: number, cachedTokens: number) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
