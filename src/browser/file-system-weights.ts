/** Keeps downloaded files in the origin's private file system; and chooses between it and Cache Storage. */
import { PrivateFolder } from '../open/private-folder.ts';
import { CacheStorageWeights, type WeightCache } from '../open/remote-folder.ts';

/** Keeps files in a folder of the origin's private file system. Without room, files are simply not kept. */
export class FileSystemWeights implements WeightCache {
  readonly #folder: PrivateFolder;

  private constructor(folder: PrivateFolder) {
    this.#folder = folder;
  }

  /**
   * Opens the folder.
   * @param name the folder's, within the origin
   * @returns undefined if the browser has no such file system, or does not let the page use it
   * @example
   * ```ts
   * const cache = await FileSystemWeights.open();
   * ```
   */
  static async open(name = 'linnet-weights'): Promise<FileSystemWeights | undefined> {
    const folder = await PrivateFolder.open(name);
    return folder && new FileSystemWeights(folder);
  }

  get(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#folder.read(sha256);
  }

  async put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#folder.write(sha256, bytes);
  }

  delete(sha256: string): Promise<void> {
    return this.#folder.delete(sha256);
  }

  /** Bytes of all files. */
  async bytes(): Promise<number> {
    return (await this.#folder.list()).reduce((total, { bytes }) => total + bytes, 0);
  }

  /** Forgets all files. */
  clear(): Promise<void> {
    return this.#folder.clear();
  }
}

/**
 * This browser's best place for downloads: its private file system, or Cache Storage if it has none.
 * @example
 * ```ts
 * const cache = await browserWeights();
 * ```
 */
export async function browserWeights(): Promise<WeightCache> {
  return (await FileSystemWeights.open()) ?? new CacheStorageWeights();
}
