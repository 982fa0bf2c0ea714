/** A route of an API: address, body and handler. Documentation follows from it, too. */
import type { z } from 'zod';
import type { ServerLimits } from './limits.ts';

/** One request, checked as far as it does not depend on the route. */
export interface ApiRequest {
  /** Parsed JSON, where the route takes any. */
  readonly body: unknown;
  /** Name of an API key, or ''. */
  readonly key: string;
  /** Secret of this process and the key: beginnings of texts are shared within it. */
  readonly salt: string;
  /** Ends the work on the request: the client is gone, or the time is over. Fired when the answer is whole, too. */
  readonly abort: AbortController;
  /** Parts of the address, by the names in the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly raw: Request;
}

/** @template S the parts of the server that it needs */
export interface Route<S> {
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** With names of its parts in braces. */
  readonly path: string;
  readonly summary: string;
  readonly body?: (limits: ServerLimits) => z.ZodType;
  readonly optional?: boolean;
  /** Content type of a body, or an answer, that is not JSON. */
  readonly takes?: string;
  readonly gives?: string;
  readonly answer: (serving: S, request: ApiRequest) => Response | Promise<Response>;
}
