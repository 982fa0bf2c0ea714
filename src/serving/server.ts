/** A server of a model that writes: its parts put together. */
import { setMaxListeners } from 'node:events';
import { growsWithText } from '../attention/mixers.ts';
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
import { BodyBudget } from './http/request-fields.ts';
import type { ServedWriter, Serving } from './http/request-context.ts';
import { textApi } from './http/text-api.ts';
import { checkAddress, listen, type Listening, type ListenOptions } from './listen.ts';
import { MemoryStore } from './sessions/memory-store.ts';
import { Sessions } from './sessions/sessions.ts';
import type { SharedState } from './sessions/shared-state.ts';
import type { SessionStore } from '../engine/session-store.ts';

/** Most tokens of a text: a state that grows ends with its memory, and beyond the trained length texts get worse. */
function contextSize({ decoder: { cross, mixers, sizes, positions } }: ServedWriter, promptTokens: number): number {
  if (cross !== undefined) return promptTokens;
  return Math.min(promptTokens, mixers.some(growsWithText) ? sizes.trainedLength : positions.limit);
}

/** The side of a server that clients see: address, keys, limits, names. For a model of any kind. */
export interface HttpOptions
  extends ListenOptions,
    Pick<ApiOptions, 'log' | 'aliases' | 'anyModel' | 'openMetrics' | 'metricDialects' | 'page'> {
  /** Origins of pages that may call the API. Default none. */
  readonly origins?: readonly string[];
  /** Most requests a minute and key. Default: no limit. */
  readonly rate?: number;
  readonly limits?: Partial<ServerLimits>;
}

/** Where a server keeps states of texts. */
export interface StoreOptions {
  /** Bytes of states that the prefix cache keeps. Default 256 MiB. */
  readonly cacheBytes?: number;
  /** Sessions; the store stays the caller's. Default: in memory, until the process ends. */
  readonly sessions?: SessionStore;
  /** Seconds without a turn after which a session is gone, unless it asks for others. Default: it stays. */
  readonly sessionTtl?: number;
  /** State shared with other servers of the model; the caller closes it. `sessions` must use its store. */
  readonly shared?: SharedState;
}

/** How a model that writes is served. */
export interface ServerOptions {
  readonly http: HttpOptions;
  /** How its texts are run. */
  readonly runner?: Omit<RunnerOptions, 'tokenizer' | 'prefixes' | 'observer' | 'learned'>;
  readonly stores?: StoreOptions;
  /** Name of the format in which calls of functions are written. Default: by the chat template. */
  readonly toolFormat?: string;
}

export interface RunningServer extends Listening {
  readonly runner: Runner;
}

/** Parts around the routes of any API. @throws LinnetError `CONFIG` for an address that others reach without a key */
export function surroundings(http: HttpOptions, redis?: Redis): Omit<ApiOptions, 'model' | 'contextSize'> {
  checkAddress(http);
  const end = new AbortController();
  setMaxListeners(0, end.signal); // one for each request
  const { keys = [], origins = [], rate, limits } = http;
  return {
    ...http,
    origins,
    draining: false,
    end,
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
export async function startServer(
  model: ServedWriter,
  { http, runner: running = {}, stores = {}, toolFormat }: ServerOptions,
): Promise<RunningServer> {
  const { shared, cacheBytes = 256 << 20, sessions = new MemoryStore(), sessionTtl } = stores;
  const around = surroundings(http, shared?.redis);
  const { metrics, limits } = around;
  model.prepare();
  const runner = await model.runner({
    ...running,
    prefixes: new PrefixCache(cacheBytes, running.deterministic === true ? undefined : shared?.prefixes),
    observer: metrics.observer,
  });
  const { encoder } = runner.engine;
  const promptTokens = Math.min(limits.promptTokens, ...(encoder ? [limits.textTokens, encoder.longest] : []));
  metrics.watch(runner);
  if (stores.sessions instanceof MemoryStore) metrics.watchSessions(stores.sessions);
  const serving = {
    ...around,
    model,
    runner,
    secret: shared?.secret,
    limits: { ...limits, promptTokens, n: Math.min(limits.n, runner.parallel) },
    contextSize: contextSize(model, promptTokens),
    calls: new ToolCalls(model, toolFormat),
    responses: shared?.responses(cacheBytes) ?? new MemoryStore({ maxBytes: cacheBytes }),
    embeddings: new Embeddings(runner.engine, model.tokenizer, runner.parallel, promptTokens),
    sessions: new Sessions(sessions, sessionTtl),
  };
  const api = createApi<Serving>(serving, textApi(model));
  return { ...(await listen(api, http, { serving, settle: () => runner.close() })), runner };
}
