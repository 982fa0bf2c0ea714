/** A file behind a URL, read in parts by HTTP ranges. The server is not trusted: never reads more than the requested bytes. */
import type { GgufFile } from '../checkpoint/gguf/weights.ts';
import { LinnetError } from '../errors.ts';
import type { FetchFilesOptions } from './fetch-options.ts';
import { fetchAnswer, readBody } from './answers.ts';

/** Bytes fetched at once and kept for later reads. */
const chunkBytes = 1 << 23;

/**
 * Opens a file.
 * @throws LinnetError `NOT_FOUND` if it cannot be fetched, `CONFIG` for a server without ranges, `MISMATCH` if the file
 *   changes between reads, `FORMAT` for other bytes than were asked for, `ABORTED`
 */
export async function rangedFile(url: URL, options: FetchFilesOptions): Promise<GgufFile> {
  const name = url.href;
  const { onProgress } = options;
  let total = 0;
  let version: string | undefined;
  let done = 0;
  function fetched(start: number, length: number): Promise<Uint8Array> {
    const last = start + length - 1;
    const read = async (response: Response): Promise<Uint8Array> => {
      const { status, headers } = response;
      const [, from, to, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? [];
      if (status !== 206 || size === undefined) {
        throw new LinnetError('CONFIG', `${name}: the server does not support HTTP ranges; use one that does`);
      }
      const found = `${size} ${headers.get('etag') ?? headers.get('last-modified') ?? ''}`;
      if (found !== (version ??= found)) {
        throw new LinnetError('MISMATCH', `${name} changed while it was read; open it again`);
      }
      total = Number(size);
      const bytes = new Uint8Array(Math.min(length, total - start));
      const received = await readBody(response, `the part of ${name} from byte ${start}`, bytes);
      if (Number(from) !== start || Number(to) !== start + received - 1 || received !== bytes.length) {
        throw new LinnetError('FORMAT', `${name}: the server sent other bytes than ${start} to ${last}`);
      }
      onProgress?.({ file: name, done: (done += received), total, cached: 0 });
      return bytes;
    };
    return fetchAnswer(url, name, options, read, { Range: `bytes=${start}-${last}` });
  }
  let [start, chunk] = [0, await fetched(0, chunkBytes)];
  const source = {
    name,
    size: total,
    async read(offset: number, length: number, room = new Uint8Array(length)): Promise<Uint8Array> {
      let end = 0;
      while (end < length) {
        const at = offset + end;
        if (at < start || at >= start + chunk.length) {
          [start, chunk] = [at, await fetched(at, Math.min(Math.max(length - end, chunkBytes), total - at))];
        }
        const part = chunk.subarray(at - start, at - start + length - end);
        room.set(part, end);
        end += part.length;
      }
      return room.subarray(0, length);
    },
  };
  return { source, version: `${name} ${version}`, close: () => Promise.resolve() };
}
