/** An endpoint that takes JSON: what it is for, what it takes, and what answers it. Routes and documentation follow from it. */
import type { z } from 'zod';
import type { ServerLimits } from './limits.ts';
import type { ApiRequest } from './request-context.ts';

/** @template S what it needs of the server */
export interface JsonEndpoint<S> {
  readonly summary: string;
  readonly body: (limits: ServerLimits) => z.ZodType;
  readonly answer: (serving: S, request: ApiRequest) => Response | Promise<Response>;
}
