/** A stand-in for the Hugging Face hub: a local server that speaks its protocol, with faults on request. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type ModelTensor, saveCheckpoint } from '../src/checkpoint/save-checkpoint.ts';
import { scratchFolder } from './scratch-folder.ts';

/** The one commit, token and model that it knows. */
export const commit = 'c'.repeat(40);
export const token = 'hf_test';
export const id = 'owner/model';

async function listen(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handle);
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}

export const digest = (algorithm: string, ...parts: (string | Buffer)[]): string => {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

/** The parts of the hub's protocol that the client library uses, from files in memory, with faults on request. */
class ImitatedHub {
  readonly files: Map<string, Buffer>;
  /** Every request as `METHOD-less path [range]`, hub and content server. */
  readonly log: string[] = [];
  /** How many bytes each of the next content answers sends before the connection breaks. */
  readonly cuts: number[] = [];
  /** Milliseconds between the last byte of a cut answer and the break of its connection. */
  cutAfter = 20;
  /** Called before content is sent, may replace it. */
  tamper: (name: string, content: Buffer) => Buffer = (_, content) => content;
  /** Statuses of the next content answers instead of content. */
  readonly refusals: number[] = [];
  /** Statuses of the next answers of the API instead of facts. */
  readonly busy: number[] = [];
  sha: unknown = commit;
  needsToken = false;
  /** A repository of rows instead of one of weights. */
  isDataset = false;
  xet = false;
  ignoresRanges = false;
  tokenLeaked = false;
  origin = '';
  contentOrigin = '';

  constructor(files: Map<string, Buffer>) {
    this.files = files;
  }

  async start(): Promise<string> {
    this.contentOrigin = await listen((request, response) => this.#serveContent(request, response));
    this.origin = await listen((request, response) => this.#serve(request, response));
    return this.origin;
  }

  /** Requests for content from the first byte on or later, without the one-byte questions for size. */
  downloads(): string[] {
    return this.log.filter((line) => line.startsWith('content') && !line.endsWith('bytes=0-0'));
  }

  #isLarge(name: string): boolean {
    return name.endsWith('.safetensors') || name.endsWith('.parquet');
  }

  get #place(): string {
    return `${this.isDataset ? 'datasets' : 'models'}/${id}`;
  }

  get #content(): string {
    return `/${this.isDataset ? 'datasets/' : ''}${id}/resolve/${commit}/`;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', this.origin);
    this.log.push(url.pathname);
    const busy = url.pathname.startsWith('/api/') ? this.busy.shift() : undefined;
    if (busy !== undefined) {
      response.writeHead(busy, { 'content-type': 'application/json' }).end('{"error":"Too many requests"}');
    } else if (this.needsToken && request.headers.authorization !== `Bearer ${token}`) {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"Invalid credentials"}');
    } else if (url.pathname.startsWith(`/api/${this.#place}/revision/`)) {
      const known = ['main', commit].includes(url.pathname.split('/').at(-1) ?? '');
      const body = { _id: '1', id, private: false, lastModified: '2024-01-01T00:00:00Z', sha: this.sha };
      response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify(known ? body : { error: 'Revision not found' }));
    } else if (url.pathname === `/api/${this.#place}/tree/${commit}`) {
      this.#serveTree(url, response);
    } else if (url.pathname.startsWith(this.#content)) {
      this.#serveFile(url.pathname.slice(this.#content.length), request, response);
    } else {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"Repository not found"}');
    }
  }

  /** Two entries a page, so that the client must follow the links. */
  #serveTree(url: URL, response: ServerResponse): void {
    const page = Number(url.searchParams.get('cursor') ?? 0);
    const recursive = url.searchParams.get('recursive') === 'true';
    const listed = [...this.files].filter(([path]) => recursive || !path.includes('/'));
    const entries = listed.map(([path, content]) => ({
      type: 'file',
      path,
      size: content.length,
      oid: digest('sha1', `blob ${content.length}\0`, content),
      ...(this.#isLarge(path) && { lfs: { oid: digest('sha256', content), size: content.length, pointerSize: 130 } }),
    }));
    const next = `<${this.origin}${url.pathname}?recursive=${recursive}&cursor=${page + 1}>; rel="next"`;
    const isLast = (page + 1) * 2 >= entries.length;
    response.writeHead(200, { 'content-type': 'application/json', ...(!isLast && { link: next }) });
    response.end(
      JSON.stringify([{ type: 'directory', path: 'onnx', size: 0 }, ...entries.slice(page * 2, page * 2 + 2)]),
    );
  }

  #serveFile(name: string, request: IncomingMessage, response: ServerResponse): void {
    const content = this.files.get(name);
    if (content === undefined) {
      response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    } else if (!this.#isLarge(name)) {
      this.#send(name, request, response);
    } else if (this.xet && request.headers.accept?.includes('xet-fileinfo')) {
      const link = `<${this.origin}/auth>; rel="xet-auth", <${this.origin}/info>; rel="xet-reconstruction-info"`;
      const headers = { 'x-linked-size': content.length, 'x-xet-hash': 'f'.repeat(64), etag: '"x"', link };
      response.writeHead(200, { ...headers, 'content-type': 'application/vnd.xet-fileinfo+json' }).end('{}');
    } else {
      response
        .writeHead(302, {
          location: `${this.contentOrigin}/${name}`,
          'x-linked-etag': `"${digest('sha256', content)}"`,
        })
        .end();
    }
  }

  #serveContent(request: IncomingMessage, response: ServerResponse): void {
    this.tokenLeaked ||= request.headers.authorization !== undefined;
    this.#send((request.url ?? '').slice(1), request, response);
  }

  #send(name: string, request: IncomingMessage, response: ServerResponse): void {
    const { range } = request.headers;
    this.log.push(`content ${name}${range === undefined ? '' : ` ${range}`}`);
    const isProbe = range === 'bytes=0-0';
    const refusal = isProbe ? undefined : this.refusals.shift();
    if (refusal !== undefined) {
      response.writeHead(refusal).end();
      return;
    }
    const content = this.tamper(name, this.files.get(name) ?? Buffer.alloc(0));
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
    const partial = first !== undefined && (isProbe || !this.ignoresRanges);
    const body = partial ? content.subarray(Number(first), Number(last) + 1) : content;
    response.writeHead(partial ? 206 : 200, {
      'content-length': body.length,
      etag: '"e"',
      ...(partial && { 'content-range': `bytes ${first}-${last}/${content.length}` }),
    });
    const cut = isProbe ? undefined : this.cuts.shift();
    // A complete answer keeps its connection: the client may already be using it for the next request.
    if (cut === undefined || cut >= body.length) response.end(body);
    else response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), this.cutAfter).unref());
  }
}

/**
 * A hub with a LLaMA of four tensors.
 * @param shardBytes size above which its weights are in several files
 * @returns the hub, its address, and the folder that its files come from
 */
export async function hubWithModel(shardBytes = 5e9): Promise<{ hub: ImitatedHub; endpoint: string; folder: string }> {
  const folder = join(await scratchFolder(), 'origin');
  const tensors = Array.from({ length: 4 }, (_, i): ModelTensor => {
    return { name: `w${i}`, shape: [16, 16], data: Float32Array.from({ length: 256 }, (_value, j) => i + j / 256) };
  });
  const tokenizerFiles = new Map([['tokenizer.json', '{"model":{}}']]);
  await saveCheckpoint(folder, { config: { model_type: 'llama' }, tensors, tokenizerFiles, shardBytes });
  return { ...(await hubWithFolder(folder)), folder };
}

/** A hub with the files of a folder, and two that nobody fetches. */
export async function hubWithFolder(folder: string): Promise<{ hub: ImitatedHub; endpoint: string }> {
  const names = await readdir(folder);
  const files = await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const));
  const hub = new ImitatedHub(
    new Map([...files, ['README.md', Buffer.from('# hello')], ['pytorch_model.bin', Buffer.from('pickle')]]),
  );
  return { hub, endpoint: await hub.start() };
}

/** A hub with a data set of these files, by path. */
export async function hubWithDataset(files: Readonly<Record<string, string | Buffer>>) {
  const hub = new ImitatedHub(new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)])));
  hub.isDataset = true;
  return { hub, endpoint: await hub.start() };
}
