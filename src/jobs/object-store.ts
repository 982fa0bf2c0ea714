/** Named contents in a folder or elsewhere. */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ifFound } from '../errors.ts';
import { writeFileAtomic } from '../files/atomic.ts';
import { fileError, readInFolder } from '../files/regular-file.ts';

/** Named contents, replaced as a whole. */
export interface ObjectStore {
  /** For messages. */
  readonly place: string;
  /** The content; undefined where there is none. @throws LinnetError `FORMAT` or `PATH` for one of more than `most` bytes */
  read(name: string, most: number): Promise<Uint8Array | undefined>;
  write(name: string, content: Uint8Array): Promise<void>;
}

/** The files of a folder, which is created if need be. @throws LinnetError `PATH` from the file system */
export async function openFolder(folder: string): Promise<ObjectStore> {
  const place = resolve(folder);
  try {
    await mkdir(place, { recursive: true });
  } catch (error) {
    throw fileError('create', place, error);
  }
  return {
    place,
    read: (name, most) => ifFound(readInFolder(place, name, most)),
    write: (name, content) => writeFileAtomic(join(place, name), content),
  };
}
