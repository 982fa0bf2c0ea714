/** A server that serves a built chat page and answers it as a test says. */
import { readFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { json } from 'node:stream/consumers';

const types: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

export interface StubServer extends AsyncDisposable {
  readonly url: string;
  /** Asked for as `Authorization` where it is set. */
  key: string | undefined;
  /** Writes an answer: see `sendPieces`. */
  answer: (response: ServerResponse) => void | Promise<void>;
  /** Bodies of the chats asked for. */
  readonly chats: unknown[];
}

/** Streams deltas of a chat, and its end unless the answer is to stay open. */
export function sendPieces(response: ServerResponse, deltas: readonly object[], { ends = true } = {}): void {
  const send = (data: string): boolean => response.write(`data: ${data}\n\n`);
  for (const delta of deltas) send(JSON.stringify({ choices: [{ delta }] }));
  if (!ends) return;
  send(JSON.stringify({ choices: [{ delta: {}, finish_reason: 'stop' }] }));
  send('[DONE]');
  response.end();
}

/** @param page folder of the built page */
export async function startStubServer(page: string): Promise<StubServer> {
  const chats: unknown[] = [];
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const path = new URL(request.url ?? '/', 'http://localhost').pathname;
      const file = path === '/' ? 'index.html' : path.slice(1);
      if (path === '/' || path.startsWith('/assets/')) {
        response.setHeader('content-type', types[extname(file)] ?? 'image/svg+xml');
        response.end(await readFile(join(page, file)));
      } else if (stub.key !== undefined && request.headers.authorization !== `Bearer ${stub.key}`) {
        response.writeHead(401).end('{}');
      } else if (path === '/props') {
        response.end(JSON.stringify({ model_alias: 'stub', chat_template: '{{ messages }}' }));
      } else {
        chats.push(await json(request));
        response.setHeader('content-type', 'text/event-stream');
        await stub.answer(response);
      }
    };
    answer().catch(() => response.writeHead(404).end());
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const stub: StubServer = {
    url: `http://localhost:${address.port}/`,
    key: undefined,
    answer: (response) => sendPieces(response, [{ content: 'A linnet.' }]),
    chats,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
  return stub;
}
