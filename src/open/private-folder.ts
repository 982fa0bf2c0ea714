/** Folders of the origin's private file system (OPFS), which holds files of gigabytes without copies in memory. */

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
  getFile(): Promise<{ readonly size: number; readonly lastModified: number; arrayBuffer(): Promise<ArrayBuffer> }>;
  /** Missing in some browsers; the file appears when closed. */
  createWritable?(): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    close(): Promise<void>;
    abort(): Promise<void>;
  }>;
}
declare const navigator: { readonly storage?: { getDirectory?(): Promise<FolderApi> } } | undefined;

/** A file of a private folder. */
export interface PrivateFile {
  readonly name: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly changed: number;
}

export class PrivateFolder {
  readonly #folder: FolderApi;

  private constructor(folder: FolderApi) {
    this.#folder = folder;
  }

  /**
   * @param name the folder's name within the origin
   * @returns undefined if the browser has no such file system, or denies it to the page
   */
  static async open(name: string): Promise<PrivateFolder | undefined> {
    try {
      const root = typeof navigator === 'undefined' ? undefined : await navigator.storage?.getDirectory?.();
      const folder = await root?.getDirectoryHandle(name, { create: true });
      return folder && new PrivateFolder(folder);
    } catch {
      return undefined; // private windows of some browsers
    }
  }

  /** A file, if it exists. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const file = await (await this.#folder.getFileHandle(name)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    } catch {
      return undefined;
    }
  }

  /** Replaces a file atomically. Returns whether there was room; if not, the old one stays. */
  async write(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    try {
      const handle = await this.#folder.getFileHandle(name, { create: true });
      const writable = await handle.createWritable?.();
      try {
        await writable?.write(bytes);
        await writable?.close();
      } catch (error) {
        await writable?.abort().catch(() => undefined);
        throw error;
      }
      if (writable !== undefined) return true;
    } catch {
      // The quota is used up.
    }
    // A file that was made for nothing.
    const left = await this.#folder.getFileHandle(name).then(described, () => undefined);
    if (left?.bytes === 0) await this.delete(name);
    return false;
  }

  /** Removes a file, if it exists. */
  async delete(name: string): Promise<void> {
    await this.#folder.removeEntry(name).catch(() => undefined);
  }

  async list(): Promise<PrivateFile[]> {
    const found: Promise<PrivateFile | undefined>[] = [];
    for await (const entry of this.#folder.values()) if (entry.kind === 'file') found.push(described(entry));
    return (await Promise.all(found)).filter((file) => file !== undefined);
  }

  async clear(): Promise<void> {
    const names: string[] = [];
    for await (const entry of this.#folder.values()) names.push(entry.name);
    for (const name of names) await this.#folder.removeEntry(name, { recursive: true }).catch(() => undefined);
  }
}

/** A file with its size; undefined if another tab removed it. */
async function described(entry: FileApi): Promise<PrivateFile | undefined> {
  try {
    const { size, lastModified } = await entry.getFile();
    return { name: entry.name, bytes: size, changed: lastModified };
  } catch {
    return undefined;
  }
}
