import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { scratchFolder } from '../../../test/scratch-folder.ts';
import type { FetchProgress, HubOptions } from './hub.ts';
import { defaultModelFolder, hubSource } from './hub.ts';
import { openCheckpoint } from '../huggingface.ts';
import type { ModelTensor } from '../save-checkpoint.ts';
import { saveCheckpoint } from '../save-checkpoint.ts';

const commit = 'c'.repeat(40);
const token = 'hf_test';
const id = 'owner/model';

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

const digest = (algorithm: string, ...parts: (string | Buffer)[]): string => {
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
  /** Called before content is sent, may replace it. */
  tamper: (name: string, content: Buffer) => Buffer = (_, content) => content;
  /** Statuses of the next content answers instead of content. */
  readonly refusals: number[] = [];
  sha: unknown = commit;
  needsToken = false;
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
    return name.endsWith('.safetensors');
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', this.origin);
    this.log.push(url.pathname);
    if (this.needsToken && request.headers.authorization !== `Bearer ${token}`) {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"Invalid credentials"}');
    } else if (url.pathname.startsWith(`/api/models/${id}/revision/`)) {
      const known = ['main', commit].includes(url.pathname.split('/').at(-1) ?? '');
      const body = { _id: '1', id, private: false, lastModified: '2024-01-01T00:00:00Z', sha: this.sha };
      response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify(known ? body : { error: 'Revision not found' }));
    } else if (url.pathname === `/api/models/${id}/tree/${commit}`) {
      this.#serveTree(url, response);
    } else if (url.pathname.startsWith(`/${id}/resolve/${commit}/`)) {
      this.#serveFile(url.pathname.split('/').at(-1) ?? '', request, response);
    } else {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"Repository not found"}');
    }
  }

  /** Two entries a page, so that the client must follow the links. */
  #serveTree(url: URL, response: ServerResponse): void {
    const page = Number(url.searchParams.get('cursor') ?? 0);
    const entries = [...this.files].map(([path, content]) => ({
      type: 'file',
      path,
      size: content.length,
      oid: digest('sha1', `blob ${content.length}\0`, content),
      ...(this.#isLarge(path) && { lfs: { oid: digest('sha256', content), size: content.length, pointerSize: 130 } }),
    }));
    const next = `<${this.origin}${url.pathname}?recursive=false&cursor=${page + 1}>; rel="next"`;
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
    else response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
  }
}

/** A hub with a model of four tensors, sharded or not, and a source connected to it. */
async function hubWithModel(shardBytes = 5e9, hubOptions: HubOptions = {}) {
  const folder = join(await scratchFolder(), 'origin');
  const tensors = Array.from({ length: 4 }, (_, i): ModelTensor => {
    return { name: `w${i}`, shape: [16, 16], data: Float32Array.from({ length: 256 }, (_value, j) => i + j / 256) };
  });
  const tokenizerFiles = new Map([['tokenizer.json', '{"model":{}}']]);
  await saveCheckpoint(folder, { config: { model_type: 'llama' }, tensors, tokenizerFiles, shardBytes });
  const names = await readdir(folder);
  const files = await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const));
  const hub = new ImitatedHub(
    new Map([...files, ['README.md', Buffer.from('# hello')], ['pytorch_model.bin', Buffer.from('pickle')]]),
  );
  const source = hubSource({ endpoint: await hub.start(), retryDelay: 1, ...hubOptions });
  const target = join(await scratchFolder(), 'models/copy');
  return { hub, source, target, folder };
}

describe('fetchFolder', () => {
  it.each([
    ['in one file', 5e9],
    ['in several files', 2048],
  ])('fetches a model %s, and nothing else', async (_, shardBytes) => {
    const { hub, source, target, folder } = await hubWithModel(shardBytes);
    const record = await source.fetchFolder(id, 'main', target);
    expect(record.commit).toBe(commit);
    expect((await readdir(target)).sort()).toEqual([...(await readdir(folder)), 'linnet-source.json'].sort());
    expect(await readdir(join(target, '..'))).toEqual(['copy']);
    for (const [name, { size, sha256 }] of Object.entries(record.files)) {
      const content = await readFile(join(target, name));
      expect(content.equals(hub.files.get(name) ?? Buffer.alloc(0))).toBe(true);
      expect({ size, sha256 }).toEqual({ size: content.length, sha256: digest('sha256', content) });
    }
    const [original, copy] = [await openCheckpoint(folder), await openCheckpoint(target)];
    expect(await copy.fingerprint()).toBe(await original.fingerprint());
    await Promise.all([original.close(), copy.close()]);
  });

  it('reports progress that ends at the total', async () => {
    const { source, target } = await hubWithModel(2048);
    const seen: FetchProgress[] = [];
    const record = await source.fetchFolder(id, 'main', target, { onProgress: (progress) => seen.push(progress) });
    const total = Object.values(record.files).reduce((sum, { size }) => sum + size, 0);
    expect(seen.at(-1)).toMatchObject({ received: total, size: total });
    expect(seen.every(({ received }, i) => i === 0 || received >= seen[i - 1].received)).toBe(true);
  });

  it('does not ask twice: a named commit without network, a branch with one question', async () => {
    const { hub, source, target } = await hubWithModel();
    const first = await source.fetchFolder(id, 'main', target);
    hub.log.length = 0;
    expect(await source.fetchFolder(id, commit, target)).toEqual(first);
    expect(hub.log).toEqual([]);
    expect(await source.fetchFolder(id, undefined, target)).toEqual(first);
    expect(hub.log).toEqual([`/api/models/${id}/revision/main`]);
  });

  it('repairs a download that lost a file', async () => {
    const { source, target } = await hubWithModel();
    await source.fetchFolder(id, commit, target);
    await rm(join(target, 'tokenizer.json'));
    await source.fetchFolder(id, commit, target);
    expect(await readdir(target)).toContain('tokenizer.json');
    expect(await readdir(join(target, '..'))).toEqual(['copy']);
  });

  it('continues after broken connections and overload, from the byte it has', async () => {
    const { hub, source, target } = await hubWithModel();
    hub.files.delete('tokenizer.json');
    hub.refusals.push(503);
    hub.cuts.push(1000_000, 700, 900); // config.json whole, then the weights in three pieces
    const size = hub.files.get('model.safetensors')?.length ?? 0;
    await source.fetchFolder(id, 'main', target);
    const weights = hub.downloads().filter((line) => line.includes('model.safetensors'));
    expect(weights[0]).toBe('content model.safetensors');
    const starts = weights.slice(1).map((line) => Number(/bytes=(\d+)-/.exec(line)?.[1]));
    expect(starts).toEqual([700, 1600]);
    expect(weights.at(-1)).toMatch(new RegExp(`-${size - 1}$`));
  });

  it('continues in the next run where one was stopped', async () => {
    const { hub, source, target } = await hubWithModel();
    const stop = new AbortController();
    hub.cuts.push(100_000, 100_000, 1500);
    const onProgress = ({ file, fileReceived }: FetchProgress): void => {
      if (file === 'model.safetensors' && fileReceived > 0) stop.abort();
    };
    const stopped = source.fetchFolder(id, 'main', target, { onProgress, signal: stop.signal });
    await expect(stopped).rejects.toThrow(expect.objectContaining({ code: 'ABORTED' }));
    expect(await readdir(join(target, '..'))).toEqual([`.copy.${commit}.partial`]);
    hub.log.length = 0;
    await source.fetchFolder(id, 'main', target);
    expect(hub.downloads()).toEqual([expect.stringMatching(/^content model\.safetensors bytes=[1-9]\d*-/)]);
  });

  it('gives up when nothing arrives any more, keeping what there is', async () => {
    const { hub, source, target } = await hubWithModel(5e9, { retries: 2 });
    hub.refusals.push(500, 500, 500, 500, 500);
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(/cannot fetch owner\/model/);
    expect(hub.downloads()).toHaveLength(3);
  });

  it('replaces a damaged partial file by a fresh one', async () => {
    const { source, target } = await hubWithModel();
    const staging = join(target, '..', `.copy.${commit}.partial`);
    await mkdir(staging, { recursive: true });
    await writeFile(join(staging, 'model.safetensors'), Buffer.alloc(500, 1));
    await writeFile(join(staging, 'tokenizer.json'), Buffer.alloc(5000, 1));
    await source.fetchFolder(id, 'main', target);
    const checkpoint = await openCheckpoint(target);
    expect(checkpoint.tensors.size).toBe(4);
    await checkpoint.close();
  });

  it.each(['config.json', 'model.safetensors'])('refuses %s when its content has another digest', async (victim) => {
    const { hub, source, target } = await hubWithModel();
    hub.tamper = (name, content) => (name === victim ? Buffer.alloc(content.length, 0x20) : content);
    const fetching = source.fetchFolder(id, 'main', target);
    await expect(fetching).rejects.toThrow(victim);
    await expect(fetching).rejects.toThrow(expect.objectContaining({ code: 'FORMAT' }));
    await expect(readdir(target)).rejects.toThrow();
  });

  it('refuses content of another length than listed', async () => {
    const { hub, source, target } = await hubWithModel();
    hub.tamper = (_, content) => Buffer.concat([content, Buffer.from('x')]);
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(/the server's listing says/);
  });

  it('refuses a server that ignores ranges instead of gluing wrong parts together', async () => {
    const { hub, source, target } = await hubWithModel(5e9, { retries: 1 });
    hub.files.delete('tokenizer.json');
    hub.ignoresRanges = true;
    hub.cuts.push(1000_000, 700);
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(
      /whole file instead of the part from byte 700/,
    );
  });

  it('sends the token to the hub and to nobody else, and takes the plain way for xet files', async () => {
    const { hub, source, target } = await hubWithModel(5e9, { token });
    hub.needsToken = true;
    hub.xet = true;
    await source.fetchFolder(id, 'main', target);
    expect(hub.log.some((line) => line.startsWith('content model.safetensors'))).toBe(true);
    expect(hub.tokenLeaked).toBe(false);
  });

  it('never fetches pickles, and says so', async () => {
    const { hub, source, target } = await hubWithModel();
    hub.files.delete('model.safetensors');
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(/"pytorch_model.bin", which may run code/);
    expect(hub.downloads()).toEqual([]);
  });

  it('refuses an index that leads out of the folder', async () => {
    const { hub, source, target } = await hubWithModel(2048);
    hub.files.set('model.safetensors.index.json', Buffer.from('{"weight_map":{"w0":"../../evil.safetensors"}}'));
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(expect.objectContaining({ code: 'PATH' }));
  });

  it('leaves a folder alone that is not its own', async () => {
    const { source, target } = await hubWithModel();
    await mkdir(target, { recursive: true });
    await writeFile(join(target, 'thesis.txt'), 'x');
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(/holds no downloaded model/);
    expect(await readdir(target)).toEqual(['thesis.txt']);
  });

  it('explains refusals, unknown models and revisions, and servers that are not there', async () => {
    const { hub, source, target } = await hubWithModel();
    const codeOf = (code: string): unknown => expect.objectContaining({ code });
    await expect(source.fetchFolder('owner/other', 'main', target)).rejects.toThrow(codeOf('NOT_FOUND'));
    await expect(source.fetchFolder(id, 'v9', target)).rejects.toThrow(/no model owner\/model at revision "v9"/);
    hub.sha = '../main';
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(codeOf('FORMAT'));
    hub.needsToken = true;
    await expect(source.fetchFolder(id, 'main', target)).rejects.toThrow(/give a token with access/);
    const nowhere = hubSource({ endpoint: 'http://127.0.0.1:9', retries: 0 });
    await expect(nowhere.fetchFolder(id, 'main', target)).rejects.toThrow(
      /cannot fetch owner\/model from http:\/\/127\.0\.0\.1:9/,
    );
  });
});

describe('arguments', () => {
  it.each(['', '../x', 'a/b/c', '/abs', 'a\\b', 'a/..', '-flag', 'a b'])('refuses the model name %j', (name) => {
    expect(() => defaultModelFolder(name)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });

  it('refuses revisions, tokens and endpoints of the wrong form', async () => {
    expect(() => hubSource().fetchFolder(id, '../../x')).toThrow(/no branch, tag or commit/);
    expect(() => hubSource({ token: 'secret' })).toThrow(/starts with "hf_"/);
    expect(() => hubSource({ endpoint: 'file:///etc' })).toThrow(/no http\(s\) URL/);
  });

  it('keeps models below the home folder unless told otherwise', () => {
    expect(defaultModelFolder('owner/model')).toBe(join(homedir(), '.cache/linnet/owner--model'));
  });
});
