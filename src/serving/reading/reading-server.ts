/** A server of a classifier or an encoder: its parts put together. */
import type { Logger } from 'pino';
import { ApiKeys, RequestRate } from '../http/access.ts';
import { defaultLimits, type ServerLimits } from '../http/limits.ts';
import { ServerMetrics } from '../http/metrics.ts';
import { checkAddress, listen, type Listening, type ListenOptions } from '../listen.ts';
import { createReadingApi } from './reading-app.ts';
import type { ReadingModel } from './reading-model.ts';
import { readingEmbedder } from './reading-routes.ts';
import { TextLine } from './text-line.ts';

/** How such a model is served. */
export interface ReadingServerOptions extends ListenOptions {
  /** Origins of pages that may call the API. Default none. */
  readonly origins?: readonly string[];
  /** Most requests a minute and key. Default: no limit. */
  readonly rate?: number;
  /** Requests that are read or wait; more are refused with 429. Default 72. */
  readonly maxRequests?: number;
  readonly limits?: Partial<ServerLimits>;
  readonly log: Logger;
}

/**
 * Serves a model, which stays the caller's.
 * @throws LinnetError `CONFIG` for an address that others reach without a key; `INPUT` for one that cannot be bound
 */
export async function startReadingServer(model: ReadingModel, options: ReadingServerOptions): Promise<Listening> {
  const { keys = [], origins = [], rate, maxRequests = 72, log } = options;
  checkAddress(options);
  const metrics = new ServerMetrics();
  const line = new TextLine(maxRequests);
  const limits = { ...defaultLimits, ...options.limits };
  let draining = false;
  const api = createReadingApi({
    ...{ model, line, limits, metrics, log, origins },
    embeddings: readingEmbedder({ model, line, limits, metrics }),
    keys: new ApiKeys(keys),
    rate: new RequestRate(rate),
    localOnly: keys.length === 0,
    ready: () => !draining,
  });
  return listen(api, options, {
    begin: () => (draining = true),
    settle: () => line.close(),
  });
}
