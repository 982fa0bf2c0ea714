/** A server on a socket: opened, bound, drained. */
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { getRequestListener } from '@hono/node-server';
import type { Logger } from 'pino';
import { LinnetError } from '../errors.ts';
import { ApiKeys, isLoopback, RequestRate } from './http/access.ts';
import { createApi } from './http/app.ts';
import { defaultLimits, type ServerLimits } from './http/limits.ts';
import { ServerMetrics } from './http/metrics.ts';
import type { PageFiles } from './http/page.ts';
import { Scheduler, type SchedulerOptions } from './scheduler/scheduler.ts';
import type { ServedModel } from './served-model.ts';
import { ResponseStore } from './sessions/response-store.ts';
import { Embeddings } from './text/embeddings.ts';
import { Slots } from './sessions/slots.ts';
import { MemorySessions } from './sessions/memory-sessions.ts';
import type { SessionStore } from './sessions/session-store.ts';
import { Sessions } from './sessions/sessions.ts';
import { TieredSessions } from './sessions/tiered-sessions.ts';
import type { SharedState } from './shared-state.ts';
import { TextService } from './text/text-service.ts';
import type { MethodMaker } from './text/decoding-choice.ts';

/** How a model is served. */
export interface ServerOptions extends Omit<SchedulerOptions, 'observer'> {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes a free one. Default 8080. */
  readonly port?: number;
  /** Keys of which every request must bring one; none lets everyone on this machine ask. */
  readonly keys?: readonly string[];
  /** Origins of pages that may call the API. Default none. */
  readonly origins?: readonly string[];
  /** Most requests a minute and key. Default: no limit. */
  readonly rate?: number;
  /** Bytes of states that the prefix cache keeps. Default 256 MiB. */
  readonly cacheBytes?: number;
  /** Where sessions are kept; it stays the caller's. Default: in memory, until the process ends. */
  readonly sessions?: SessionStore;
  /** Folder for saved slots. Default: they cannot be saved. */
  readonly slotFolder?: string;
  /** Seconds without a turn after which a session is gone, unless it asks for others. Default: it stays. */
  readonly sessionTtl?: number;
  /** What is shared with other servers of the model; it stays the caller's. `sessions` is to be on top of its store. */
  readonly shared?: SharedState;
  /** Seconds that a draining server still takes requests, while `/health` tells load balancers to look elsewhere. Default 0. */
  readonly drainDelay?: number;
  readonly limits?: Partial<ServerLimits>;
  /** Milliseconds within which the headers of a request must have come. Default 10 s. */
  readonly headersTimeout?: number;
  /** Milliseconds within which all of a request must have come. Default 60 s. */
  readonly requestTimeout?: number;
  /** Makes the decoding method of texts that report no scores. Default: one token a round. */
  readonly method?: MethodMaker;
  /** The web page at `/`, as `readPage` gives it. Default: none. */
  readonly page?: PageFiles;
  readonly log: Logger;
}

/** A server that listens. */
export interface RunningServer {
  readonly url: string;
  readonly texts: TextService;
  /** Answers a request that did not come by the socket. */
  readonly fetch: (request: Request) => Response | Promise<Response>;
  /** Says so to load balancers, accepts no more, lets what runs come to its end, then closes. */
  drain(): Promise<void>;
}

/**
 * Serves a model, which stays the caller's.
 * @throws LinnetError `CONFIG` for an address that others reach without a key; `INPUT` for one that cannot be bound
 */
export async function startServer(model: ServedModel, options: ServerOptions): Promise<RunningServer> {
  const { host = '127.0.0.1', port = 8080, keys = [], origins = [], rate, cacheBytes = 256 << 20 } = options;
  if (keys.length === 0 && !isLoopback(host)) {
    throw new LinnetError(
      'CONFIG',
      `${host} is an address that other machines reach: give --api-key or --api-key-file, or stay on 127.0.0.1`,
    );
  }
  const { shared, method, log, parallel, maxQueue, chunk, readerBytes, readerTimeout } = options;
  const metrics = new ServerMetrics();
  const bounds = Object.fromEntries(
    Object.entries({ parallel, maxQueue, chunk, readerBytes, readerTimeout }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  const scheduler = new Scheduler(model.engine, { ...bounds, observer: metrics.observer });
  const texts = new TextService(model, scheduler, { cacheBytes, method, shared: shared?.prefixes });
  metrics.watch(texts);
  const store = options.sessions ?? new MemorySessions();
  if (store instanceof TieredSessions) metrics.watchSessions(store);
  const limits = { ...defaultLimits, ...options.limits };
  let draining = false;
  const api = createApi({
    ready: () => !draining,
    model,
    texts,
    responses: new ResponseStore(cacheBytes),
    embeddings: new Embeddings(model.engine, scheduler.parallel),
    slots: new Slots(model, scheduler.parallel, options.slotFolder),
    sessions: new Sessions(model, store, { ttl: options.sessionTtl }),
    limits: { ...limits, n: Math.min(limits.n, scheduler.parallel) },
    keys: new ApiKeys(keys),
    rate: new RequestRate(rate, shared?.redis),
    secret: shared?.secret,
    metrics,
    log,
    localOnly: keys.length === 0,
    origins,
    page: options.page,
  });
  const listener = getRequestListener((request) => api.fetch(request), { overrideGlobalObjects: false });
  const server = createServer(
    {
      headersTimeout: options.headersTimeout ?? 10_000,
      requestTimeout: options.requestTimeout ?? 60_000,
      // How often sockets beyond those times are looked for.
      connectionsCheckingInterval: Math.min(5_000, options.headersTimeout ?? 10_000),
      keepAliveTimeout: 5_000,
      maxHeaderSize: 16 << 10,
    },
    (incoming, outgoing) => {
      void listener(incoming, outgoing);
    },
  );
  server.maxHeadersCount = 100;
  server.maxConnections = 1024;
  const address = await new Promise<AddressInfo>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new LinnetError('INPUT', `cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
    });
    server.listen(port, host, () => {
      const bound = server.address();
      if (bound !== null && typeof bound === 'object') resolve(bound);
    });
  });
  const shownHost = host.includes(':') ? `[${host}]` : host;
  return {
    url: `http://${shownHost}:${address.port}`,
    texts,
    fetch: (request) => api.fetch(request),
    async drain() {
      draining = true;
      // A connection that came as the socket closed would be lost, and with it its request.
      if (options.drainDelay !== undefined) await sleep(1000 * options.drainDelay);
      const closed = new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      await scheduler.close();
      server.closeIdleConnections();
      const patience = setTimeout(() => {
        server.closeAllConnections();
      }, 2_000);
      await closed;
      clearTimeout(patience);
    },
  };
}
