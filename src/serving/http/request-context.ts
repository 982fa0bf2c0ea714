/** The server as handlers of requests use it. */
import type { StateStore } from '../sessions/state-store.ts';
import type { Slots } from '../sessions/slots.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { JsonSchemas } from '../../decoding/constraints/json-schemas.ts';
import type { Runner } from '../../engine/runner.ts';
import type { NamedModel, TextModel } from '../../engine/text-model.ts';
import { ApiError } from './api-error.ts';
import type { ServerLimits } from './limits.ts';

/** The server as endpoints that do not run the model use it. */
export interface TokenServing {
  readonly model: NamedModel;
  /** Other names that requests may call it. */
  readonly aliases?: readonly string[];
  readonly limits: ServerLimits;
}

/** Turns texts into vectors. */
export interface TextEmbedder {
  /** Numbers of a vector. */
  readonly width: number;
  /** Most tokens of a text. */
  readonly longest: number;
  /** Tokens of a text, with those that the model wants around it. */
  layOut(text: string): number[];
  /**
   * The vector of a text, of length 1.
   * @param tokens one or more, and no more than `longest`
   */
  embed(tokens: readonly number[], signal: AbortSignal): Promise<Float32Array>;
}

/** The server as the endpoint of embeddings uses it. */
export interface EmbeddingServing extends TokenServing {
  readonly embeddings: TextEmbedder;
}

/** The server of a generating model, with its limits. */
export interface Serving extends EmbeddingServing {
  readonly model: TextModel;
  readonly runner: Runner;
  readonly schemas: JsonSchemas;
  readonly sessions: Sessions;
  readonly slots: Slots;
  readonly responses: StateStore;
}

/** Names of the model, the one of its answers first. */
export function modelNames({ model, aliases = [] }: TokenServing): readonly string[] {
  return [model.name, ...aliases];
}

/** @throws ApiError where a request names another model */
export function requireServedModel(serving: TokenServing, asked = ''): void {
  if (asked === '' || modelNames(serving).includes(asked)) return;
  throw new ApiError(
    'not_found_error',
    `there is no model "${asked.slice(0, 100)}" here; this is "${serving.model.name}"`,
    {
      param: 'model',
    },
  );
}

/** The model's name and fingerprint, in the fields of answers. */
export function identityOf({ model }: Serving) {
  return { model: model.name, system_fingerprint: `b${model.fingerprint.slice(0, 12)}` };
}

/**
 * How many tokens may be written after a prompt.
 * @throws ApiError for a prompt that is too long
 */
export function tokensLeft({ model, limits }: Serving, promptLength: number, asked: number): number {
  const positions = model.engine.model.positions.limit;
  checkLength('prompt', promptLength, Math.min(limits.promptTokens, positions - 1));
  return Math.min(asked, limits.maxTokens, positions - promptLength);
}

/** @throws ApiError for a text, in a field of the request, that is too long */
export function checkLength(field: string, tokens: number, most: number): void {
  if (tokens <= most) return;
  throw new ApiError(
    'exceed_context_size_error',
    `the ${field} has ${tokens} tokens, which exceeds the available context size of ${most}; ask with less`,
    { param: field, details: { n_prompt_tokens: tokens, n_ctx: most } },
  );
}

/** Most tokens of an answer whose request names no limit: not more than the model was trained for. */
export function answerTokens({ model, limits }: Serving): number {
  return Math.min(limits.answerTokens, model.engine.model.sizes.trainedLength ?? Infinity);
}
