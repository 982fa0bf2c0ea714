/** Which of two formats a model folder has: the one place that asks. */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';

/** What to do with a folder of each format. */
export interface ByFormat<T> {
  /** A folder that `exportModel` writes: graphs with their weights. */
  readonly exported: (folder: string) => Promise<T>;
  /** A Hugging Face folder: configuration and safetensors. */
  readonly checkpoint: (folder: string) => Promise<T>;
}

/**
 * Runs the function for the format that a folder claims, rightly or not.
 * @example
 * ```ts
 * const format = await byFolderFormat('runs/augmented', {
 *   exported: () => Promise.resolve('exported'),
 *   checkpoint: () => Promise.resolve('checkpoint'),
 * });
 * ```
 */
export async function byFolderFormat<T>(folder: string, { exported, checkpoint }: ByFormat<T>): Promise<T> {
  const isExported = await lstat(join(folder, EXPORT_FILE)).then(
    () => true,
    () => false,
  );
  return isExported ? exported(folder) : checkpoint(folder);
}
