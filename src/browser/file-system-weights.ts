/**
 * Keeping downloaded files in the origin's private file system (OPFS), which holds files of gigabytes without copies in
 * memory; and the choice between it and Cache Storage.
 */
import { CacheStorageWeights, type WeightCache } from '../open/weight-cache.ts';

/** The part of the file system in use. */
interface FolderApi {
  getDirectoryHandle(name: string, options: { create: boolean }): Promise<FolderApi>;
  getFileHandle(name: string, options?: { create: boolean }): Promise<FileApi>;
  removeEntry(name: string, options?: { recursive: boolean }): Promise<void>;
  values(): AsyncIterable<FileApi | { readonly kind: 'directory'; readonly name: string }>;
}
interface FileApi {
  readonly kind: 'file';
  readonly name: string;
  getFile(): Promise<{ readonly size: number; arrayBuffer(): Promise<ArrayBuffer> }>;
  /** Some browsers have none; the file appears when it is closed. */
  createWritable?(): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    close(): Promise<void>;
    abort(): Promise<void>;
  }>;
}
declare const navigator: { readonly storage?: { getDirectory?(): Promise<FolderApi> } } | undefined;

/** Keeps files in a folder of the origin's private file system. Where there is no room, files are simply not kept. */
export class FileSystemWeights implements WeightCache {
  readonly #folder: FolderApi;

  private constructor(folder: FolderApi) {
    this.#folder = folder;
  }

  /**
   * Opens the folder.
   * @param name of the folder within the origin
   * @returns undefined where the browser has no such file system, or does not let the page use it
   * @example
   * ```ts
   * const cache = await FileSystemWeights.open();
   * ```
   */
  static async open(name = 'linnet-weights'): Promise<FileSystemWeights | undefined> {
    try {
      const root = typeof navigator === 'undefined' ? undefined : await navigator.storage?.getDirectory?.();
      const folder = await root?.getDirectoryHandle(name, { create: true });
      return folder === undefined ? undefined : new FileSystemWeights(folder);
    } catch {
      return undefined; // private windows of some browsers
    }
  }

  async get(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const file = await (await this.#folder.getFileHandle(sha256)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    } catch {
      return undefined; // there is none
    }
  }

  async put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      const handle = await this.#folder.getFileHandle(sha256, { create: true });
      const writable = await handle.createWritable?.();
      if (writable === undefined) {
        await this.delete(sha256);
        return;
      }
      try {
        await writable.write(bytes);
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => undefined);
        throw error;
      }
    } catch {
      // The quota is used up; the next visit downloads again.
      await this.delete(sha256);
    }
  }

  async delete(sha256: string): Promise<void> {
    await this.#folder.removeEntry(sha256).catch(() => undefined);
  }

  /** Bytes of all files. */
  async bytes(): Promise<number> {
    let total = 0;
    for await (const entry of this.#folder.values()) {
      if (entry.kind === 'file') total += (await entry.getFile()).size;
    }
    return total;
  }

  /** Forgets all files. */
  async clear(): Promise<void> {
    const names: string[] = [];
    for await (const entry of this.#folder.values()) names.push(entry.name);
    for (const name of names) await this.#folder.removeEntry(name, { recursive: true }).catch(() => undefined);
  }
}

/**
 * Where this browser keeps downloads best: its private file system, or Cache Storage where it has none.
 * @example
 * ```ts
 * const cache = await browserWeights();
 * ```
 */
export async function browserWeights(): Promise<WeightCache> {
  return (await FileSystemWeights.open()) ?? new CacheStorageWeights();
}
