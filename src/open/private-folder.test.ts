/** The private file system of a page whose calls fail at any point: no room, files of other tabs, folders in the place of files. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Random } from '../random.ts';
import { PrivateFolder } from './private-folder.ts';

/** A private file system where one call in ten fails; `null` is a folder. */
class FaultyFileSystem {
  readonly files = new Map<string, Uint8Array<ArrayBuffer> | null>();
  readonly #random: Random;
  faults = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  #mayFail(): Promise<void> {
    if (this.#random.integer(10) > 0) return Promise.resolve();
    this.faults++;
    return Promise.reject(new DOMException('no', ['QuotaExceededError', 'NotReadableError'][this.#random.integer(2)]));
  }

  #file(name: string) {
    const content = () => {
      const bytes = this.files.get(name);
      if (bytes instanceof Uint8Array) return bytes;
      throw new DOMException('gone', 'NotFoundError');
    };
    return {
      ...{ kind: 'file' as const, name },
      getFile: async () => {
        await this.#mayFail();
        const bytes = content();
        const arrayBuffer = async () => {
          await this.#mayFail();
          return bytes.slice().buffer;
        };
        return { size: bytes.length, lastModified: 0, arrayBuffer };
      },
      createWritable: async () => {
        await this.#mayFail();
        let written = new Uint8Array();
        return {
          write: async (bytes: Uint8Array<ArrayBuffer>) => {
            await this.#mayFail();
            written = bytes.slice();
          },
          close: async () => {
            await this.#mayFail();
            this.files.set(name, written);
          },
          abort: () => this.#mayFail(),
        };
      },
    };
  }

  readonly root = {
    getDirectoryHandle: () => Promise.resolve(this.root),
    getFileHandle: async (name: string, { create = false } = {}) => {
      await this.#mayFail();
      const content = this.files.get(name);
      if (content === null) throw new DOMException('a folder', 'TypeMismatchError');
      if (content === undefined && !create) throw new DOMException('none', 'NotFoundError');
      if (content === undefined) this.files.set(name, new Uint8Array());
      return this.#file(name);
    },
    removeEntry: async (name: string) => {
      await this.#mayFail();
      if (this.files.get(name) === null) throw new DOMException('not empty', 'InvalidModificationError');
      this.files.delete(name);
    },
    values: () => this.#entries(),
  };

  async *#entries() {
    for (const [name, content] of [...this.files]) {
      await Promise.resolve();
      yield content === null ? { kind: 'directory' as const, name } : this.#file(name);
    }
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('a private folder on a file system that fails', () => {
  it.each(Array.from({ length: 20 }, (_, seed) => seed))('keeps whole files or none: seed %i', async (seed) => {
    const system = new FaultyFileSystem(seed);
    vi.stubGlobal('navigator', { storage: { getDirectory: () => Promise.resolve(system.root) } });
    system.files.set('d', null);
    const folder = await PrivateFolder.open('x');
    if (folder === undefined) throw new Error('no folder');
    const random = new Random(1000 + seed);
    const whole = new Map<string, string>();
    for (let step = 0; step < 500; step++) {
      const name = ['a', 'b', 'c', 'd'][random.integer(4)];
      const bytes = Uint8Array.from({ length: 1 + random.integer(9) }, () => random.integer(256));
      const action = random.integer(4);
      if (action === 0) {
        if (await folder.write(name, bytes)) whole.set(name, String(bytes));
      } else if (action === 1) {
        await folder.delete(name);
        if (!system.files.has(name)) whole.delete(name);
      } else if (action === 2) {
        const read = await folder.read(name);
        // A file that was made for a write that failed, and could not be removed, is empty.
        if (read !== undefined && read.length > 0) expect(String(read)).toBe(whole.get(name));
      } else {
        for (const { name: listed, bytes: size } of await folder.list()) {
          expect(size === 0 || whole.get(listed)?.split(',').length === size).toBe(true);
        }
      }
    }
    expect(system.faults).toBeGreaterThan(50);
    expect(await folder.write('d', new Uint8Array(1))).toBe(false);
  });
});
