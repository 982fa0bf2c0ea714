/**
 * Keeping downloaded files between visits. They are kept by their checksum: a new version of a model shares its unchanged
 * files, and files from a cache are verified like a download.
 */

/** A place for downloaded files. */
export interface WeightCache {
  /** The file with this SHA-256 (hex), or undefined. */
  get(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Keeps a file, if there is room. */
  put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Forgets a file; does nothing if there is none. */
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

  /** @param name of the cache within the origin; `caches.delete(name)` empties it */
  constructor(name = 'linnet-weights') {
    this.#name = name;
  }

  async get(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const response = await (await this.#open())?.match(keyOf(sha256));
    return response === undefined ? undefined : new Uint8Array(await response.arrayBuffer());
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
