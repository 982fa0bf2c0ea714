/** A server of a classifier or an encoder: its parts put together. */
import type { Logger } from 'pino';
import { ApiKeys, RequestRate } from '../http/access.ts';
import { defaultLimits, type ServerLimits } from '../http/limits.ts';
import { ServerMetrics } from '../http/metrics.ts';
import { checkAddress, listen, type Listening, type ListenOptions } from '../listen.ts';
import { createApi } from '../http/app.ts';
import { encoderApi } from './encoder-api.ts';
import type { ReadingModel } from '../../open/running-model.ts';
import { encoderEmbedder, type EncoderServing } from './encoder-routes.ts';
import { TextLine } from './text-line.ts';

/** How such a model is served. */
export interface EncoderServerOptions extends ListenOptions {
  /** Origins of pages that may call the API. Default none. */
  readonly origins?: readonly string[];
  /** Most requests a minute and key. Default: no limit. */
  readonly rate?: number;
  /** Requests that are read or wait; more are refused with 429. Default 72. */
  readonly maxRequests?: number;
  readonly limits?: Partial<ServerLimits>;
  /** Other names that requests may call the model. */
  readonly aliases?: readonly string[];
  readonly log: Logger;
}

/**
 * Serves a model, which stays the caller's.
 * @throws LinnetError `CONFIG` for an address that others reach without a key; `INPUT` for one that cannot be bound
 */
export async function startEncoderServer(model: ReadingModel, options: EncoderServerOptions): Promise<Listening> {
  const { keys = [], origins = [], aliases, rate, maxRequests = 72, log } = options;
  checkAddress(options);
  const metrics = new ServerMetrics();
  const line = new TextLine(maxRequests);
  const limits = { ...defaultLimits, ...options.limits };
  let draining = false;
  const serving = {
    ...{ model, aliases, line, limits, metrics, log, origins },
    embeddings: encoderEmbedder({ model, line, limits, metrics }),
    keys: new ApiKeys(keys),
    rate: new RequestRate(rate),
    localOnly: keys.length === 0,
    ready: () => !draining,
  };
  return listen(createApi<EncoderServing>(serving, encoderApi(model)), options, {
    begin: () => (draining = true),
    settle: () => line.close(),
  });
}
