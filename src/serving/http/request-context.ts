/** The server as handlers of requests use it. */
import type { BodyBudget } from './request-fields.ts';
import type { SessionStore } from '../../engine/session-store.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { Runner } from '../../engine/runner.ts';
import type { Embeddings } from '../../engine/text/embeddings.ts';
import type { ToolCalls } from '../../engine/tools/tool-calls.ts';
import type { WriterByKind } from '../../open/model-files.ts';
import type { OpenedKind, OpenedModel } from '../../open/opened-model.ts';
import { ApiError } from './api-error.ts';
import type { ServerLimits } from './limits.ts';

/** A model of any kind. */
export type ServedModel = OpenedModel<OpenedKind, unknown>;

/** A model that writes texts. */
export type ServedWriter = WriterByKind[keyof WriterByKind];

/** The server as seen by endpoints that do not run the model. */
export interface TokenServing {
  /** Bytes of bodies under way. */
  readonly bodies: BodyBudget;
  readonly model: ServedModel;
  /** Other names that requests may call it. */
  readonly aliases?: readonly string[];
  /** Whether it answers to every name. Default false. */
  readonly anyModel?: boolean;
  readonly limits: ServerLimits;
  /** Most tokens of a text. */
  readonly contextSize: number;
}

/** The server as the endpoint of embeddings uses it. */
export interface EmbeddingServing extends TokenServing {
  readonly embeddings: Pick<Embeddings, 'width' | 'longest' | 'layOut' | 'embed'>;
}

/** The server of a generating model, with its limits. */
export interface Serving extends EmbeddingServing {
  readonly model: ServedWriter;
  readonly runner: Runner;
  readonly calls: ToolCalls;
  readonly sessions: Sessions;
  readonly responses: SessionStore;
}

export function modelNames({ model, aliases = [] }: TokenServing): readonly string[] {
  return [model.name, ...aliases];
}

/** The model's name in the answer: the requested one. @throws ApiError if it is another model's */
export function answeredName(serving: TokenServing, asked = ''): string {
  const { model, anyModel = false } = serving;
  if (asked === '') return model.name;
  if (anyModel || modelNames(serving).includes(asked)) return asked;
  const message = `there is no model "${asked.slice(0, 100)}" here; this is "${model.name}"`;
  throw new ApiError('not_found_error', message, { param: 'model' });
}

/** As `answeredName`, for clients that call models by tags: "tiny" is "tiny:latest" too. */
export function taggedName(serving: TokenServing, asked = ''): string {
  const known = modelNames(serving).includes(asked) ? asked : asked.replace(/:latest$/, '');
  const name = answeredName(serving, known);
  return asked === '' ? name : asked;
}

/** Maximum tokens after a prompt. @throws ApiError for a prompt that is too long */
export function tokensLeft({ model, limits }: Serving, promptLength: number, asked: number): number {
  const positions = model.decoder.positions.limit;
  checkLength('prompt', promptLength, Math.min(limits.promptTokens, positions - 1));
  return Math.min(asked, limits.maxTokens, positions - promptLength);
}

/** @throws ApiError for a text, in a field of the request, that is too long */
export function checkLength(field: string, tokens: number, most: number): void {
  if (tokens <= most) return;
  throw new ApiError(
    'exceed_context_size_error',
    `the ${field} has ${tokens} tokens, which exceeds the available context size of ${most}; shorten it`,
    { param: field, details: { n_prompt_tokens: tokens, n_ctx: most } },
  );
}

/** Most tokens of an answer whose request names no limit: not more than the model was trained for. */
export function answerTokens({ model, limits }: Serving): number {
  return Math.min(limits.answerTokens, model.trainedLength);
}
