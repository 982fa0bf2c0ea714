/** A route of an API: address, body and handler. The documentation is derived from it. */
import type { z } from 'zod';
import type { ServerLimits } from './limits.ts';
import type { Refusals } from './request-fields.ts';

/** One request, checked as far as it does not depend on the route. */
export interface ApiRequest {
  /** Name of an API key, or ''. */
  readonly key: string;
  /** Secret of this process and the key: beginnings of texts are shared within it. */
  readonly salt: string;
  /** Ends work on the request: the client is gone, time is up, or the answer is complete. */
  readonly abort: AbortController;
  /** Parts of the address, by the names in the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly raw: Request;
}

/** Schema of a body. It is made once for a server, and checked before the route answers. */
export type BodySchema<Fields> = (limits: ServerLimits) => z.ZodType<Fields>;

interface RouteOptions {
  /** Fields outside the schema that are refused rather than ignored. */
  readonly refusals?: Refusals;
  /** Whether a body may be empty. */
  readonly optional?: boolean;
}

/** @template S the parts of the server that it needs */
export interface Route<S> extends RouteOptions {
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** With names of its parts in braces. */
  readonly path: string;
  readonly summary: string;
  readonly body?: BodySchema<unknown>;
  /** Content type of a body or answer other than JSON. */
  readonly takes?: string;
  readonly gives?: string;
  /** @param fields the body as its schema gives it; undefined for a route without one */
  answer(serving: S, request: ApiRequest, fields: unknown): Response | Promise<Response>;
}

/** A route that takes no JSON. */
export function route<S>(
  method: Route<S>['method'],
  path: string,
  summary: string,
  answer: (serving: S, request: ApiRequest) => Response | Promise<Response>,
  types: Pick<Route<S>, 'takes' | 'gives'> = {},
): Route<S> {
  return { method, path, summary, answer, ...types };
}

/** A route that takes a body: its answer has the fields of its schema. */
export function post<S, Fields>(
  path: string,
  summary: string,
  body: BodySchema<Fields>,
  answer: (serving: S, request: ApiRequest, fields: Fields) => Response | Promise<Response>,
  options: RouteOptions = {},
): Route<S> {
  return { method: 'post', path, summary, body, answer, ...options };
}
