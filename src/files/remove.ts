/** Removes files and folders that may exist. */
import { rm } from 'node:fs/promises';

/** Removes a file, or a folder and its contents; does nothing if there is none. */
export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
