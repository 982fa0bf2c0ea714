/** A server of a model that writes: its parts put together. */
import type { Logger } from 'pino';
import { ApiKeys, RequestRate } from './http/access.ts';
import { createApi } from './http/app.ts';
import type { Serving } from './http/request-context.ts';
import { textApi } from './http/text-api.ts';
import { defaultLimits, type ServerLimits } from './http/limits.ts';
import type { MetricDialect } from './http/metric-names.ts';
import { ServerMetrics } from './http/metrics.ts';
import type { PageFiles } from './http/page.ts';
import { checkAddress, listen, type Listening, type ListenOptions } from './listen.ts';
import { Runner } from '../engine/runner.ts';
import type { TextModel } from '../engine/text-model.ts';
import { Embeddings } from '../engine/text/embeddings.ts';
import { folderSlots, Slots } from './sessions/slots.ts';
import { MemoryStore } from './sessions/memory-store.ts';
import type { StateStore } from './sessions/state-store.ts';
import { Sessions } from './sessions/sessions.ts';
import { TieredStore } from './sessions/tiered-store.ts';
import type { SharedState } from './sessions/shared-state.ts';
import { JsonSchemas } from '../decoding/constraints/json-schemas.ts';
import type { DrafterName, RunnerOptions } from '../engine/text-job.ts';
import { PrefixCache } from '../engine/text/prefix-cache.ts';

/** How a model is served. */
export interface ServerOptions
  extends Pick<RunnerOptions, 'parallel' | 'maxQueue' | 'chunk' | 'deterministic' | 'readerBytes' | 'readerTimeout'>,
    ListenOptions {
  /** Origins of pages that may call the API. Default none. */
  readonly origins?: readonly string[];
  /** Most requests a minute and key. Default: no limit. */
  readonly rate?: number;
  /** Bytes of states that the prefix cache keeps. Default 256 MiB. */
  readonly cacheBytes?: number;
  /** Where sessions are kept; it stays the caller's. Default: in memory, until the process ends. */
  readonly sessions?: StateStore;
  /** Folder for saved slots. Default: with the shared state; without one they cannot be saved. */
  readonly slotFolder?: string;
  /** Seconds without a turn after which a session is gone, unless it asks for others. Default: it stays. */
  readonly sessionTtl?: number;
  /** State shared with other servers of the model; the caller closes it. `sessions` must use its store. */
  readonly shared?: SharedState;
  readonly limits?: Partial<ServerLimits>;
  /** Other names that requests may call the model. */
  readonly aliases?: readonly string[];
  /** Drafts for texts whose requests name no drafter. Default `off`. */
  readonly drafter?: DrafterName;
  /** Servers under whose names measurements appear too. Default none. */
  readonly metricDialects?: readonly MetricDialect[];
  /** The web page at `/`, as `readPage` gives it. Default: none. */
  readonly page?: PageFiles;
  readonly log: Logger;
}

/** A server that listens. */
export interface RunningServer extends Listening {
  readonly runner: Runner;
}

/**
 * Serves a model, which stays the caller's.
 * @throws LinnetError `CONFIG` for an address that others reach without a key; `INPUT` for one that cannot be bound
 */
export async function startServer(model: TextModel, options: ServerOptions): Promise<RunningServer> {
  const { keys = [], origins = [], rate, cacheBytes = 256 << 20 } = options;
  checkAddress(options);
  const { shared, drafter, log, parallel, maxQueue, chunk, deterministic, readerBytes, readerTimeout } = options;
  const metrics = new ServerMetrics();
  const runner = new Runner(model.engine, {
    ...{ parallel, maxQueue, chunk, deterministic, readerBytes, readerTimeout, drafter },
    tokenizer: model.tokenizer,
    prefixes: new PrefixCache(cacheBytes, deterministic === true ? undefined : shared?.prefixes),
    observer: metrics.observer,
  });
  metrics.watch(model.engine, runner);
  const store = options.sessions ?? new MemoryStore();
  if (store instanceof TieredStore) metrics.watchSessions(store);
  const limits = { ...defaultLimits, ...options.limits };
  const { slotFolder } = options;
  const slotFiles = slotFolder === undefined ? shared?.slotFiles : folderSlots(slotFolder, limits.sessionBytes);
  let draining = false;
  const serving = {
    ready: () => !draining,
    model,
    runner,
    schemas: new JsonSchemas(model.tokenizer, model.engine.model.sizes.vocabulary),
    responses: shared?.responses(cacheBytes) ?? new MemoryStore(cacheBytes),
    embeddings: new Embeddings(model, runner.parallel, limits.promptTokens),
    slots: new Slots(runner.parallel, slotFiles),
    sessions: new Sessions(store, { ttl: options.sessionTtl }),
    limits: { ...limits, n: Math.min(limits.n, runner.parallel) },
    keys: new ApiKeys(keys),
    rate: new RequestRate(rate, shared?.redis),
    secret: shared?.secret,
    metrics,
    log,
    localOnly: keys.length === 0,
    origins,
    page: options.page,
    metricDialects: options.metricDialects,
    aliases: options.aliases,
  };
  const listening = await listen(createApi<Serving>(serving, textApi(model)), options, {
    begin: () => (draining = true),
    settle: () => runner.close(),
  });
  return { ...listening, runner };
}
