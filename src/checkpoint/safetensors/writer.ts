/**
 * Writes safetensors files tensor by tensor: names, types and shapes are known first, each tensor's data is requested when
 * its turn comes, so a model larger than memory can be written.
 */
import { requireRunning } from '../../errors.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { writeFully } from '../../files/regular-file.ts';
import { placeEntries, type TensorEntry, writeTensor } from './encoding.ts';

/**
 * Writes a file under a temporary name and renames it into place when complete and durable. Lays out wide element types
 * first, so that every tensor is aligned; within a type, in the given order. Calls sources in that order, one at a time.
 * @param metadata strings for the header, for example { format: 'pt' }, which PyTorch readers ask for
 * @throws LinnetError `FORMAT` for unusable names, shapes or types, `SHAPE` if data does not fit its entry, `PATH` or
 *   `NOT_FOUND` from the file system, `ABORTED` by the signal, or whatever a source throws; an old file then stays untouched
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<TensorEntry> | AsyncIterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<void> {
  const { placed, header } = await placeEntries(entries, metadata, path);
  await writeFileAtomic(path, async (handle) => {
    await writeFully(handle, header);
    const write = (bytes: Uint8Array): Promise<void> => {
      requireRunning(signal, 'while weights were written; nothing is left of them');
      return writeFully(handle, bytes);
    };
    for (const entry of placed) await writeTensor(entry, path, write);
  });
}
