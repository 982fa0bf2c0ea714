/** The record that a download leaves in its folder: model, commit, and the expected size and digest of each file. */
import { lstat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';
import { type RunFile, RunFolder } from '../../files/run-folder.ts';
import { fileSelection } from './selection.ts';

const recordSchema = z.object({
  id: z.string(),
  commit: z.string(),
  files: z.record(z.string(), z.object({ size: z.int().nonnegative(), sha256: z.string() })),
  /** The requested selection; records of earlier versions lack it: all files that Linnet reads, and no others. */
  selection: fileSelection.default({ include: [], exclude: [] }),
});

/** A downloaded model: name and commit on the hub, size in bytes and SHA-256 of each file, and how they were chosen. */
export type DownloadRecord = Readonly<z.infer<typeof recordSchema>>;

const recordFile: RunFile<DownloadRecord> = {
  ...{ file: 'linnet-source.json', schema: recordSchema, what: 'a valid record of a download', mostBytes: 10_000_000 },
};

/** Writes the note into a folder. */
export async function writeDownloadRecord(folder: string, record: DownloadRecord): Promise<void> {
  await new RunFolder(folder).write(recordFile, record);
}

/**
 * Looks at a folder that may hold an earlier download of a model.
 * @returns undefined if there is none; else its note, and whether every file is still there with its size (contents are not read)
 * @throws LinnetError `PATH` if the folder is something else, which must not be replaced
 */
export async function examineDownload(
  folder: string,
  id: string,
): Promise<{ record: DownloadRecord; intact: boolean } | undefined> {
  if ((await sizeOf(folder)) === undefined) return undefined;
  const record = await new RunFolder(folder).read(recordFile);
  if (record?.id !== id) {
    const found = record === undefined ? 'no downloaded model' : `the model ${record.id}`;
    throw new LinnetError('PATH', `${folder} holds ${found}; choose another folder for ${id}`);
  }
  const sizes = await Promise.all(Object.keys(record.files).map((name) => sizeOf(resolve(folder, name))));
  return { record, intact: Object.values(record.files).every(({ size }, i) => sizes[i] === size) };
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await lstat(path)).size;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw fileError('examine', path, error);
  }
}
