/** A web site for the browser tests: bundled pages and model folders, from memory of disk, with the headers that threads need. */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/** Makes a page cross-origin isolated, without which browsers share no memory between threads. */
const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };

export interface SiteOptions {
  /** First part of the path → folder on disk; '' stands for the root. */
  readonly folders: Readonly<Record<string, string>>;
  /** Default true. */
  readonly isolated?: boolean;
  /** Paths that are answered in a way of their own, given what lies there. */
  readonly special?: Readonly<Record<string, (response: ServerResponse, bytes: Buffer) => void>>;
}

export interface Site extends AsyncDisposable {
  readonly url: string;
  /** Paths asked for so far. */
  readonly requests: string[];
}

export async function serveSite({ folders, isolated = true, special = {} }: SiteOptions): Promise<Site> {
  const requests: string[] = [];
  const answer = async (path: string, response: ServerResponse, range?: string): Promise<void> => {
    const [, first, ...rest] = path.split('/');
    const named = Object.hasOwn(folders, first);
    const root = resolve(folders[named ? first : '']);
    const file = join(root, ...(named ? rest : [first, ...rest]));
    const size = (await stat(file)).size;
    if (!file.startsWith(root + sep)) throw new Error(`${path} leaves its folder`);
    if (Object.hasOwn(special, path)) {
      special[path](response, await readFile(file));
      return;
    }
    const [, from, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
    const part = { start: Number(from ?? 0), end: Math.min(size - 1, Number(last ?? size - 1)) };
    response.writeHead(from === undefined ? 200 : 206, {
      'Content-Type': types[extname(file)] ?? 'application/octet-stream',
      'Content-Length': part.end + 1 - part.start,
      ...(from !== undefined && { 'Content-Range': `bytes ${part.start}-${part.end}/${size}` }),
      ...(isolated && isolation),
    });
    createReadStream(file, part).pipe(response);
  };
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    requests.push(path);
    answer(path, response, request.headers.range).catch(() => response.writeHead(404, isolated ? isolation : {}).end());
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return {
    url: `http://localhost:${address.port}/`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
