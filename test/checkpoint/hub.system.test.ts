import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { commit, digest, hubWithModel as imitatedHub, id, token } from '../imitated-hub.ts';
import { WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { openCheckpoint } from '../../src/checkpoint/huggingface.ts';
import { type FetchProgress, type HubOptions, defaultModelFolder, hubSource } from '../../src/checkpoint/hub/hub.ts';

/** A hub with a model, a source connected to it, and where the model is to go. */
async function hubWithModel(shardBytes = 5e9, hubOptions: HubOptions = {}) {
  const { hub, endpoint, folder } = await imitatedHub(shardBytes);
  const source = hubSource({ endpoint, retryDelay: 1, ...hubOptions });
  return { hub, source, target: join(await scratchFolder(), 'models/copy'), folder };
}

describe('fetchFolder', () => {
  it.each([
    ['in one file', 5e9],
    ['in several files', 2048],
  ])('fetches a model %s, and nothing else', async (_, shardBytes) => {
    const { hub, source, target, folder } = await hubWithModel(shardBytes);
    const record = await source.fetchFolder(id, 'main', target);
    expect(record.commit).toBe(commit);
    expect((await readdir(target)).sort()).toEqual(
      [...(await readdir(folder)).filter((name) => name !== WRITTEN_FILES), 'linnet-source.json'].sort(),
    );
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

  it('asks a busy hub again, and gives up after the retries', async () => {
    const { hub, source, target } = await hubWithModel(5e9, { retries: 2 });
    hub.busy.push(429, 503);
    await source.fetchFolder(id, 'main', target);
    expect(hub.log.filter((path) => path.includes('/revision/'))).toHaveLength(3);
    hub.busy.push(429, 429, 429);
    await expect(source.fetchFolder(id, 'main', `${target}-again`)).rejects.toThrow(/Too many requests|429/);
    expect(hub.busy).toEqual([]);
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

  it('fetches more and fewer files by pattern, and only what is missing when the patterns change', async () => {
    const { hub, source, target } = await hubWithModel();
    const listing = async (options: { include?: string[]; exclude?: string[] }): Promise<string[]> => {
      hub.log.length = 0;
      await source.fetchFolder(id, 'main', target, options);
      return (await readdir(target)).sort();
    };
    const usual = await listing({});
    expect(await listing({ include: ['*.md', '*.bin'] })).toEqual(['README.md', ...usual].sort());
    expect(hub.downloads()).toEqual(['content README.md']);
    const withoutWeights = usual.filter((name) => name !== 'model.safetensors');
    expect(await listing({ exclude: ['*.safetensors'] })).toEqual(withoutWeights);
    expect(await listing({ exclude: ['*.safetensors'] })).toEqual(withoutWeights);
    expect(hub.log).toEqual([`/api/models/${id}/revision/main`]);
    hub.files.delete('model.safetensors');
    await rm(target, { recursive: true });
    expect(await listing({ exclude: ['*.safetensors', 'linnet*'] })).toEqual(withoutWeights);
  });

  it('lets no pattern fetch what would leave the folder, hide, or pose as our own note', async () => {
    const { hub, source, target } = await hubWithModel();
    for (const name of ['../evil', 'a\\b', '.hidden', 'linnet.json', 'linnet-source.json', 'c:evil']) {
      hub.files.set(name, Buffer.from('x'));
    }
    await source.fetchFolder(id, 'main', target, { include: ['*', '.*'] });
    expect((await readdir(target)).sort()).toEqual(
      ['README.md', 'config.json', 'linnet-source.json', 'model.safetensors', 'tokenizer.json'].sort(),
    );
  });

  it.each(['', '../*', 'a\\b', 'x'.repeat(201)])('refuses the pattern %j', async (pattern) => {
    const { source, target } = await hubWithModel();
    await expect(source.fetchFolder(id, 'main', target, { include: [pattern] })).rejects.toThrow(
      expect.objectContaining({ code: 'INPUT' }),
    );
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

describe('a hub that is hostile', () => {
  const entry = JSON.stringify({ type: 'directory', path: 'x', size: 0 });

  /** A commit, and then what a test answers to questions about files. */
  async function hostile(answer: (response: ServerResponse, origin: string) => void): Promise<string> {
    const server = createServer(({ url = '' }, response) => {
      response.setHeader('content-type', 'application/json');
      if (url.includes('/revision/')) response.end(JSON.stringify({ _id: '1', id, sha: commit }));
      else answer(response, `http://${response.req.headers.host}`);
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    return typeof address === 'object' && address !== null ? `http://127.0.0.1:${address.port}` : '';
  }
  const fetched = async (endpoint: string): Promise<unknown> =>
    hubSource({ endpoint, retryDelay: 1 }).fetchFolder(id, 'main', join(await scratchFolder(), 'model'));

  it.each<[string, (response: ServerResponse, origin: string) => void]>([
    [
      'answers without end',
      (response) => {
        const write = (): void => {
          while (!response.destroyed && response.write(' '.repeat(1 << 20)));
          if (!response.destroyed) response.once('drain', write);
        };
        write();
      },
    ],
    [
      'has pages without end',
      (response, origin) => {
        response.setHeader('link', `<${origin}/api/next?cursor=${Math.random()}>; rel="next"`);
        response.end('[]');
      },
    ],
    [
      'has folders without end',
      (response, origin) => {
        response.setHeader('link', `<${origin}/api/next?cursor=${Math.random()}>; rel="next"`);
        response.end(`[${Array(1000).fill(entry).join(',')}]`);
      },
    ],
  ])('is given up when it %s', async (_, answer) => {
    await expect(fetched(await hostile(answer))).rejects.toMatchObject({ code: 'FORMAT' });
  });

  it.each<[string, string]>([
    ['no JSON', '<html>'],
    ['no list', '{"a":1}'],
    ['null', '[null]'],
    ['no sizes', '[{"type":"file","path":"config.json"}]'],
    ['names that lead out', '[{"type":"file","path":"../../x.safetensors","size":3,"oid":"a"}]'],
    ['names that are none', '[{"type":"file","path":{},"size":3}]'],
  ])('is refused when it lists %s', async (_, body) => {
    const endpoint = await hostile((response) => response.end(body));
    await expect(fetched(endpoint)).rejects.toMatchObject({ name: 'LinnetError' });
  });

  it('is refused when it leads round in circles', async () => {
    const endpoint = await hostile((response, origin) => response.writeHead(302, { location: `${origin}/x` }).end());
    await expect(fetched(endpoint)).rejects.toMatchObject({ name: 'LinnetError', code: 'NOT_FOUND' });
  });
});

describe('arguments', () => {
  it.each(['', '../x', 'a/b/c', '/abs', 'a\\b', 'a/..', '-flag', 'a b'])('refuses the model name %j', (name) => {
    expect(() => defaultModelFolder(name)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });

  it('refuses revisions, tokens and endpoints of the wrong form', async () => {
    await expect(hubSource().fetchFolder(id, '../../x')).rejects.toThrow(/not a branch, tag or commit/);
    expect(() => hubSource({ token: 'secret' })).toThrow(/starts with "hf_"/);
    expect(() => hubSource({ endpoint: 'file:///etc' })).toThrow(/not an http\(s\) URL/);
  });

  it('keeps models below the home folder unless told otherwise', () => {
    expect(defaultModelFolder('owner/model')).toBe(join(homedir(), '.cache/linnet/owner--model'));
  });
});
