import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { RemoteFolder, type RemoteFolderOptions, type WeightCache } from './remote-folder.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const describeFile = (bytes: Uint8Array) => ({ bytes: bytes.byteLength, sha256: sha256(bytes) });
const content = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

/** A body that comes in pieces of `step` bytes, and never ends if it is `endless`. */
function body(bytes: Uint8Array, step: number, endless = false): ReadableStream<Uint8Array> {
  let position = 0;
  return new ReadableStream({
    pull(controller) {
      if (position < bytes.length) controller.enqueue(bytes.slice(position, (position += step)));
      else if (!endless) controller.close();
      else return new Promise(() => undefined);
      return undefined;
    },
  });
}

class MemoryCache implements WeightCache {
  readonly kept = new Map<string, Uint8Array<ArrayBuffer>>();
  async get(sha: string) {
    return this.kept.get(sha);
  }
  async put(sha: string, bytes: Uint8Array<ArrayBuffer>) {
    this.kept.set(sha, bytes);
  }
  async delete(sha: string) {
    this.kept.delete(sha);
  }
}

/** A folder whose server answers with `answer`, and the URLs that it was asked for. */
function folderOf(answer: () => Response, options: RemoteFolderOptions = {}, url = 'https://models.test/tiny') {
  const asked: string[] = [];
  const fetch = (target: string | URL | Request): Promise<Response> => {
    asked.push(target instanceof Request ? target.url : String(target));
    return Promise.resolve().then(answer);
  };
  return { folder: new RemoteFolder(url, undefined, { ...options, fetch }), asked };
}

describe('a remote folder', () => {
  it('gives a file whatever pieces it comes in, and tells of them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 64 }), async (array, step) => {
        const bytes = Uint8Array.from(array);
        let reported = 0;
        const { folder, asked } = folderOf(() => new Response(body(bytes, step)), {
          onBytes: (name, count, cached) => {
            expect([name, cached]).toEqual(['a b#.bin', false]);
            reported += count;
          },
        });
        expect(await folder.file('a b#.bin', describeFile(bytes))).toEqual(bytes);
        expect(reported).toBe(bytes.length);
        expect(asked).toEqual(['https://models.test/tiny/a%20b%23.bin']);
      }),
    );
  });

  it.each([
    ['one byte changed', content.with(500, 0)],
    ['a byte too few', content.subarray(1)],
    ['a byte too many', Uint8Array.from([...content, 0])],
    ['nothing', new Uint8Array(0)],
  ])('refuses %s', async (_, bytes) => {
    const cache = new MemoryCache();
    const { folder } = folderOf(() => new Response(body(Uint8Array.from(bytes), 64)), { cache });
    expect(await errorCode(() => folder.file('x', describeFile(content)))).toBe('FORMAT');
    expect(cache.kept.size).toBe(0);
  });

  it('reads no further than the size that it knows', async () => {
    const { folder } = folderOf(() => new Response(body(content, 64, true)));
    expect(await errorCode(() => folder.file('x', describeFile(content.subarray(0, 500))))).toBe('FORMAT');
    expect(await errorCode(() => folder.smallFile('x', 500))).toBe('FORMAT');
  });

  it('names what the network says', async () => {
    const missing = folderOf(() => new Response('no', { status: 404 }));
    expect(await errorCode(() => missing.folder.file('x', describeFile(content)))).toBe('NOT_FOUND');
    const broken = folderOf(() => {
      throw new TypeError('fetch failed');
    });
    expect(await errorCode(() => broken.folder.smallFile('x', 10))).toBe('NOT_FOUND');
    // More than any machine has.
    const { folder } = folderOf(() => new Response(''));
    expect(await errorCode(() => folder.file('x', { bytes: 2 ** 52, sha256: sha256(content) }))).toBe('RUNTIME');
  });

  it('stops when asked to', async () => {
    const controller = new AbortController();
    const { folder } = folderOf(
      () => {
        controller.abort();
        throw new DOMException('aborted', 'AbortError');
      },
      { signal: controller.signal },
    );
    expect(await errorCode(() => folder.file('x', describeFile(content)))).toBe('ABORTED');
  });

  it('takes from the cache what is intact there, and downloads what is not', async () => {
    const cache = new MemoryCache();
    const { folder, asked } = folderOf(() => new Response(body(content, 64)), { cache });
    const file = describeFile(content);
    expect(await folder.file('x', file)).toEqual(content);
    expect(await folder.file('y', file)).toEqual(content);
    expect(asked).toHaveLength(1);
    cache.kept.set(file.sha256, content.with(0, 99));
    expect(await folder.file('x', file)).toEqual(content);
    expect(asked).toHaveLength(2);
    expect(cache.kept.get(file.sha256)).toEqual(content);
  });

  it.each(['ftp://a/b', 'file:///etc', 'data:,', 'models/tiny', ''])('refuses the URL "%s"', (url) => {
    expect(() => folderOf(() => new Response(''), {}, url)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});
