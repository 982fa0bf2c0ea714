/**
 * Late requests, and other failures before a request is complete.
 *
 * Node checks the clock before it reads the sockets: a server that was busy for longer than the timeout finds connections
 * out of time whose requests have arrived unread. They are read first here.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

const answers: ReadonlyMap<unknown, string> = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', '413 Payload Too Large'],
]);

interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

/** Refuses malformed requests, and requests that are late through a fault of the client. */
export function refuseLateRequests(server: Server): void {
  const exchanges = new WeakMap<Duplex, Exchange>();
  server.prependListener('request', (incoming, outgoing) => {
    exchanges.set(incoming.socket, { incoming, outgoing });
  });

  const refuse = (socket: Duplex, code: unknown): void => {
    const begun = exchanges.get(socket)?.outgoing;
    const amidAnswer = begun !== undefined && begun.headersSent && !begun.writableEnded;
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
    const before = exchanges.get(socket);
    const beforeHeaders = before?.incoming.complete ?? true;
    afterReading(() => {
      const last = exchanges.get(socket);
      if (last === undefined || (beforeHeaders ? last === before : !last.incoming.complete)) {
        refuse(socket, code);
      } else if (!last.incoming.complete) {
        // Node looks at this connection again with its next request only: the body of this one gets as long again.
        const patience = setTimeout(() => {
          if (!last.incoming.complete) refuse(socket, code);
        }, server.requestTimeout);
        patience.unref();
      }
    });
  });
}

/** Immediates run after pending input is read; the second of two does so from any phase of the event loop. */
function afterReading(work: () => void): void {
  setImmediate(() => {
    setImmediate(work);
  });
}
