/** Removing files and folders that may be there. */
import { rm } from 'node:fs/promises';

/** Removes a file, or a folder with all in it; does nothing where there is none. */
export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
