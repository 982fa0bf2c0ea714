/** An API on a socket: bound, with the limits that keep slow clients from holding it, and drained. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { LinnetError } from '../errors.ts';
import { isLoopback } from './http/access.ts';
import { ApiError } from './http/api-error.ts';

/** Where a server listens, and for how long it is patient. */
export interface ListenOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes a free one. Default 8080. */
  readonly port?: number;
  /** Every request must present one of these keys; without any, everyone on this machine may ask. */
  readonly keys?: readonly string[];
  /** Seconds that a draining server still takes requests, while `/health` tells load balancers to look elsewhere. Default 0. */
  readonly drainDelay?: number;
  /** Seconds after which requests that still run are ended when the server drains: nobody may be reading them. Default 8. */
  readonly drainTimeout?: number;
  /** Milliseconds within which the headers of a request must have come. Default 10 s. */
  readonly headersTimeout?: number;
  /** Milliseconds within which all of a request must have come. Default 60 s. */
  readonly requestTimeout?: number;
}

/** The parts behind the API, drained with it. */
export interface Drained {
  /** Told first: requests are still taken. */
  readonly serving: { draining: boolean; readonly end: AbortController };
  /** Stops accepting requests, and resolves when the running ones have ended. */
  settle(): Promise<void>;
}

export interface Listening {
  readonly url: string;
  /** Reports draining to load balancers, accepts no more requests, lets running ones finish within `drainTimeout`, then closes. */
  drain(): Promise<void>;
}

/** @throws LinnetError `CONFIG` for an address that others reach without a key */
export function checkAddress({ host = '127.0.0.1', keys = [] }: ListenOptions): void {
  if (keys.length > 0 || isLoopback(host)) return;
  throw new LinnetError(
    'CONFIG',
    `other machines can reach ${host}: give --api-key or --api-key-file, or listen on 127.0.0.1`,
  );
}

/** Binds an API. @throws LinnetError `INPUT` for an address that cannot be bound */
export async function listen(
  api: Pick<Hono, 'fetch'>,
  options: ListenOptions,
  { serving, settle }: Partial<Drained> = {},
): Promise<Listening> {
  const { host = '127.0.0.1', port = 8080 } = options;
  const listener = getRequestListener(api.fetch, { overrideGlobalObjects: false });
  const server = createServer(
    {
      headersTimeout: options.headersTimeout ?? 10_000,
      requestTimeout: options.requestTimeout ?? 60_000,
      // Interval for checking sockets beyond those times.
      connectionsCheckingInterval: Math.min(5_000, options.headersTimeout ?? 10_000),
      keepAliveTimeout: 5_000,
      maxHeaderSize: 16 << 10,
    },
    (incoming, outgoing) => void listener(incoming, outgoing),
  );
  refuseLateRequests(server);
  server.maxHeadersCount = 100;
  server.maxConnections = 1024;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new LinnetError('INPUT', `cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
    });
    server.listen(port, host, resolve);
  });
  const address = server.address();
  const bound = address !== null && typeof address === 'object' ? address.port : port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async drain() {
      if (serving !== undefined) serving.draining = true;
      // A connection that came as the socket closed would be lost, and with it its request.
      if (options.drainDelay !== undefined) await sleep(1000 * options.drainDelay);
      const closed = new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      const allowed = 1000 * (options.drainTimeout ?? 8);
      const ending = setTimeout(() => {
        serving?.end.abort(new ApiError('unavailable_error', 'the server is shutting down'));
      }, allowed);
      // Later, so that clients read why.
      const bound = setTimeout(() => server.closeAllConnections(), allowed + 1000);
      await settle?.();
      clearTimeout(ending);
      clearTimeout(bound);
      server.closeIdleConnections();
      const patience = setTimeout(() => {
        server.closeAllConnections();
      }, 2_000);
      await closed;
      clearTimeout(patience);
    },
  };
}

const answers: ReadonlyMap<unknown, string> = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', '413 Payload Too Large'],
]);

/**
 * Refuses malformed requests, and requests that are late through a fault of the client. Node checks the clock before it reads the
 * sockets: a server that was busy for longer than the timeout finds connections out of time whose requests have arrived unread. They
 * are read first here.
 */
export function refuseLateRequests(server: Server): void {
  /** The last answer on each connection. */
  const begun = new WeakMap<Duplex, ServerResponse>();
  server.prependListener('request', (incoming, outgoing) => begun.set(incoming.socket, outgoing));

  const refuse = (socket: Duplex, code: unknown): void => {
    const answer = begun.get(socket);
    const amidAnswer = answer !== undefined && answer.headersSent && !answer.writableEnded;
    if (socket.writable && !amidAnswer) {
      socket.end(`HTTP/1.1 ${answers.get(code) ?? '400 Bad Request'}\r\nconnection: close\r\n\r\n`);
    }
    socket.destroy();
  };

  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const { code } = error;
    if (code !== 'ERR_HTTP_REQUEST_TIMEOUT') {
      refuse(socket, code);
      return;
    }
    const before = begun.get(socket);
    const beforeHeaders = before?.req.complete ?? true;
    const judge = (): void => {
      const last = begun.get(socket);
      if (last === undefined || (beforeHeaders ? last === before : !last.req.complete)) {
        refuse(socket, code);
      } else if (!last.req.complete) {
        // Node looks at this connection again with its next request only: the body of this one gets as long again.
        const patience = setTimeout(() => {
          if (!last.req.complete) refuse(socket, code);
        }, server.requestTimeout);
        patience.unref();
      }
    };
    // Immediates run after pending input is read; the second of two does so from any phase of the event loop.
    setImmediate(() => {
      setImmediate(judge);
    });
  });
}
