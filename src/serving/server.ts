/** A server of a model that writes: its parts put together. */
import type { Logger } from 'pino';
import type { Runner } from '../engine/runner.ts';
import { Embeddings } from '../engine/text/embeddings.ts';
import { PrefixCache } from '../engine/text/prefix-cache.ts';
import type { RunnerOptions } from '../engine/text-job.ts';
import { ToolCalls } from '../engine/tools/tool-calls.ts';
import type { Redis } from '../redis/client.ts';
import { ApiKeys, RequestRate } from './http/access.ts';
import { type ApiOptions, createApi } from './http/app.ts';
import { defaultLimits, type ServerLimits } from './http/limits.ts';
import { ServerMetrics } from './http/metrics.ts';
import { BodyBudget } from './http/request-bodies.ts';
import type { ServedWriter, Serving } from './http/request-context.ts';
import { textApi } from './http/text-api.ts';
import { checkAddress, listen, type Listening, type ListenOptions } from './listen.ts';
import { MemoryStore } from './sessions/memory-store.ts';
import { Sessions } from './sessions/sessions.ts';
import type { SharedState } from './sessions/shared-state.ts';
import type { StateStore } from './sessions/state-store.ts';

/** How a model of any kind is served. */
export interface AnyServerOptions extends ListenOptions, Pick<ApiOptions, 'aliases' | 'anyModel' | 'openMetrics'> {
  /** Origins of pages that may call the API. Default none. */
  readonly origins?: readonly string[];
  /** Most requests a minute and key. Default: no limit. */
  readonly rate?: number;
  readonly limits?: Partial<ServerLimits>;
  readonly log: Logger;
}

/** How a model that writes is served. */
export interface ServerOptions
  extends AnyServerOptions,
    Pick<
      RunnerOptions,
      'parallel' | 'maxQueue' | 'chunk' | 'deterministic' | 'readerBytes' | 'readerTimeout' | 'drafter'
    >,
    Pick<ApiOptions, 'metricDialects' | 'page'> {
  /** Bytes of states that the prefix cache keeps. Default 256 MiB. */
  readonly cacheBytes?: number;
  /** Where sessions are kept; it stays the caller's. Default: in memory, until the process ends. */
  readonly sessions?: StateStore;
  /** Seconds without a turn after which a session is gone, unless it asks for others. Default: it stays. */
  readonly sessionTtl?: number;
  /** Name of the format in which calls of functions are written. Default: by the chat template. */
  readonly toolFormat?: string;
  /** State shared with other servers of the model; the caller closes it. `sessions` must use its store. */
  readonly shared?: SharedState;
}

export interface RunningServer extends Listening {
  readonly runner: Runner;
}

/** Parts around the routes of any API. @throws LinnetError `CONFIG` for an address that others reach without a key */
export function surroundings(options: AnyServerOptions, redis?: Redis): Omit<ApiOptions, 'model'> {
  checkAddress(options);
  const { keys = [], origins = [], rate, limits } = options;
  return {
    ...options,
    origins,
    draining: false,
    localOnly: keys.length === 0,
    limits: { ...defaultLimits, ...limits },
    bodies: new BodyBudget((limits?.sessionBytes ?? defaultLimits.sessionBytes) + (128 << 20)),
    keys: new ApiKeys(keys),
    rate: rate === undefined ? undefined : new RequestRate(rate, redis),
    metrics: new ServerMetrics(),
  };
}

/**
 * Serves a model, which stays the caller's.
 * @throws LinnetError as `OpenedModel.prepare`; `CONFIG` for an address that others reach without a key; `INPUT` for one that cannot be bound
 */
export async function startServer(model: ServedWriter, options: ServerOptions): Promise<RunningServer> {
  const { shared, cacheBytes = 256 << 20, deterministic } = options;
  const around = surroundings(options, shared?.redis);
  const { metrics, limits } = around;
  model.prepare();
  const runner = await model.runner({
    ...options,
    prefixes: new PrefixCache(cacheBytes, deterministic === true ? undefined : shared?.prefixes),
    observer: metrics.observer,
  });
  metrics.watch(runner);
  const store = options.sessions ?? new MemoryStore();
  if (options.sessions instanceof MemoryStore) metrics.watchSessions(options.sessions);
  const serving = {
    ...around,
    model,
    runner,
    secret: shared?.secret,
    limits: { ...limits, n: Math.min(limits.n, runner.parallel) },
    calls: new ToolCalls(model, options.toolFormat),
    responses: shared?.responses(cacheBytes) ?? new MemoryStore({ maxBytes: cacheBytes }),
    embeddings: new Embeddings(runner.engine, model.tokenizer, runner.parallel, limits.promptTokens),
    sessions: new Sessions(store, options.sessionTtl),
  };
  const api = createApi<Serving>(serving, textApi(model));
  return { ...(await listen(api, options, { serving, settle: () => runner.close() })), runner };
}
