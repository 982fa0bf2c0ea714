/**
 * Fetches the files of an exported model folder. The server is not trusted: nothing is taken that has not the size and
 * SHA-256 that linnet.json says, and no more is read than that.
 */
import { quoteName } from '../files/name-list.ts';
import { LinnetError } from '../errors.ts';
import { fetchAnswer, type Asking, readBody } from './answers.ts';
import type { ExportManifest } from '../export/manifest.ts';

/** Size and checksum of a file, as linnet.json has them. */
type ExportedFile = ExportManifest['files'][string];

/** How a folder is fetched. */
export interface RemoteFolderOptions extends Asking {
  /** Default: none, every file is downloaded. */
  readonly cache?: WeightCache;
  /** Told the bytes of a file as they arrive; all at once for a file from the cache. */
  readonly onBytes?: (name: string, bytes: number, cached: boolean) => void;
}

export class RemoteFolder {
  /** Ends in a slash. */
  readonly url: URL;
  readonly #options: RemoteFolderOptions;

  /** @throws LinnetError `INPUT` if it is not an http(s) URL; relative ones are resolved against `base` */
  constructor(url: string | URL, base: string | undefined, options: RemoteFolderOptions) {
    this.url = folderUrl(url, base);
    this.#options = options;
  }

  /**
   * A file of known size and checksum.
   * @throws LinnetError `NOT_FOUND` if it cannot be fetched, `FORMAT` if it is not the one described, `RUNTIME` if there
   *   is no memory for it, `ABORTED`
   */
  async file(name: string, expected: ExportedFile): Promise<Uint8Array<ArrayBuffer>> {
    const { cache, onBytes } = this.#options;
    const kept = await this.#kept(expected);
    if (kept !== undefined) {
      onBytes?.(name, kept.byteLength, true);
      return kept;
    }
    const bytes = allocate(name, expected.bytes);
    const received = await this.#download(name, bytes, (chunk) => onBytes?.(name, chunk, false));
    if (received < bytes.byteLength) {
      throw new LinnetError('FORMAT', `${this.#nameOf(name)} has ${received} bytes, expected ${bytes.byteLength}`);
    }
    const actual = await sha256Of(bytes);
    if (actual !== expected.sha256) {
      throw new LinnetError(
        'FORMAT',
        `${this.#nameOf(name)} has the SHA-256 ${actual}, expected ${expected.sha256}; it was damaged or replaced`,
      );
    }
    await cache?.put(expected.sha256, bytes);
    return bytes;
  }

  /**
   * A file of unknown size and content, up to a limit.
   * @throws LinnetError `NOT_FOUND` if it cannot be fetched, `FORMAT` if it is longer, `ABORTED`
   */
  async smallFile(name: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = allocate(name, limit);
    return bytes.slice(0, await this.#download(name, bytes));
  }

  /** A file out of the cache, if it is there and intact. */
  async #kept({ bytes, sha256 }: ExportedFile): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { cache } = this.#options;
    const kept = await cache?.get(sha256);
    if (kept === undefined) return undefined;
    if (kept.byteLength === bytes && (await sha256Of(kept)) === sha256) return kept;
    await cache?.delete(sha256);
    return undefined;
  }

  /**
   * Fetches a file into `bytes`, and returns how many there are.
   * @throws LinnetError `FORMAT` for more than there is room for
   */
  #download(name: string, bytes: Uint8Array, onChunk?: (length: number) => void): Promise<number> {
    const url = new URL(encodeURIComponent(name), this.url);
    const called = this.#nameOf(name);
    return fetchAnswer(url, called, this.#options, (response) => readBody(response, called, bytes, onChunk));
  }

  #nameOf(name: string): string {
    return `${quoteName(name)} of ${this.url.href}`;
  }
}

/** An http(s) URL; undefined for other texts. */
export function httpUrl(text: string, base: string | undefined): URL | undefined {
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) ? url : undefined;
}

function folderUrl(given: string | URL, base: string | undefined): URL {
  const text = String(given);
  const url = httpUrl(text, base);
  if (url === undefined) {
    throw new LinnetError('INPUT', `${quoteName(text)} is not a valid http(s) URL of an exported model folder`);
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

function allocate(name: string, bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (error) {
    throw new LinnetError('RUNTIME', `no memory left for the ${bytes} bytes of ${quoteName(name)}`, {
      cause: error,
    });
  }
}

/** SHA-256 in hex. @throws LinnetError `RUNTIME` on a page that may not compute it */
export async function sha256Of(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  // Absent from pages that came over plain http from another machine.
  const subtle: typeof crypto.subtle | undefined = crypto.subtle;
  if (subtle === undefined) {
    throw new LinnetError('RUNTIME', 'checksums need a page served over https or from localhost; this one is not');
  }
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** A place for downloaded files. */
export interface WeightCache {
  /** The file with this SHA-256 (hex), or undefined. */
  get(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Keeps a file, if there is room. */
  put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Removes a file, if it exists. */
  delete(sha256: string): Promise<void>;
}

/** The part of the browser's Cache Storage in use; only pages served over https or from localhost have it. */
interface CacheStorageApi {
  open(name: string): Promise<{
    match(url: string): Promise<Response | undefined>;
    put(url: string, response: Response): Promise<void>;
    delete(url: string): Promise<boolean>;
  }>;
}
declare const caches: CacheStorageApi | undefined;

/**
 * Keeps files in the browser's Cache Storage, which belongs to the page's origin. Where the browser has none, or its
 * quota is used up, files are simply not kept.
 */
export class CacheStorageWeights implements WeightCache {
  readonly #name: string;

  /** @param name the cache's name within the origin; `caches.delete(name)` empties it */
  constructor(name = 'linnet-weights') {
    this.#name = name;
  }

  async get(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const response = await (await this.#open())?.match(keyOf(sha256));
    return response && new Uint8Array(await response.arrayBuffer());
  }

  async put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const cache = await this.#open();
    try {
      await cache?.put(keyOf(sha256), new Response(bytes));
    } catch {
      // The quota is used up; the next visit downloads again.
    }
  }

  async delete(sha256: string): Promise<void> {
    await (await this.#open())?.delete(keyOf(sha256));
  }

  async #open() {
    return typeof caches === 'undefined' ? undefined : caches.open(this.#name);
  }
}

/** Cache Storage is keyed by URLs; this one is never fetched. */
function keyOf(sha256: string): string {
  return `/.linnet/sha256/${sha256}`;
}
