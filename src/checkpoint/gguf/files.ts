/** Finds and opens GGUF models on disk, in one file or several. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { beginsWith, type OpenFile, openRegularFile, readExactly } from '../../files/regular-file.ts';
import { CONFIG_FILE, INDEX_FILE, SOURCE_FILE, WEIGHTS_FILE } from '../folder-files.ts';
import { type ByteSource, type GgufHeader, ggufMagic, type ListedTensor, readGgufHeader } from './header.ts';
import { type GgufModel, modelOf } from './model.ts';
import { endTexts } from './tokenizers.ts';
import type { GgufFile } from './weights.ts';

const mostShards = 1000;

/** A shard's number and count, as llama.cpp names them. */
const shardName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/**
 * The file a path stands for: a GGUF file of any name, or the only one in a folder without a model in another format; a
 * sharded model's first file.
 * @returns undefined if there is none
 * @throws LinnetError `INPUT` for a folder with several models
 */
export async function ggufPath(path: string): Promise<string | undefined> {
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isFile() === true) return (await beginsWith(path, ggufMagic)) ? firstShard(resolve(path)) : undefined;
  if (stats?.isDirectory() !== true) return undefined;
  const top = await readdir(path).catch((): string[] => []);
  // Files from the hub keep their folders.
  const names = top.includes(SOURCE_FILE) ? await readdir(path, { recursive: true }) : top;
  if ([WEIGHTS_FILE, INDEX_FILE, CONFIG_FILE].some((name) => top.includes(name))) return undefined;
  const models = names.filter((name) => /\.gguf$/i.test(name) && Number(shardName.exec(name)?.[2] ?? 1) === 1);
  if (models.length === 0) return undefined;
  if (models.length === 1) return resolve(path, models[0]);
  throw new LinnetError('INPUT', `${path} holds ${models.length} models (${listNames(models)}); give one of the files`);
}

/** The first shard's path. */
function firstShard(path: string): string {
  const [, stem, , count] = shardName.exec(basename(path)) ?? [];
  return stem === undefined ? path : resolve(dirname(path), `${stem}-00001-of-${count}.gguf`);
}

/** Opens one file. */
async function openFile(path: string): Promise<GgufFile> {
  const opened = await openRegularFile(path);
  const { version, unchanged } = opened;
  const place = { folder: dirname(opened.path), file: basename(opened.path), unchanged };
  return { version, place, source: byteSource(opened, path), close: () => opened.handle.close() };
}

/** The bytes of an open file. */
export function byteSource({ handle, size }: OpenFile, name: string): ByteSource {
  return {
    name,
    size,
    async read(offset, length, room = new Uint8Array(length)) {
      const bytes = room.subarray(0, length);
      await readExactly(handle, bytes, offset, name);
      return bytes;
    },
  };
}

/**
 * Opens a model.
 * @param path its first file
 * @throws LinnetError `NOT_FOUND` or `PATH` like `openRegularFile`; `FORMAT`, `TENSOR` or `CONFIG` for malformed, incomplete
 *   or unsupported files
 */
export async function openGguf(path: string): Promise<GgufModel> {
  const files: GgufFile[] = [];
  try {
    files.push(await openFile(path));
    const first = await readGgufHeader(files[0].source, { arrays: false, sought: endTexts });
    const header = { ...first, tensors: await withShards(path, first, files) };
    return await modelOf(header, files, path);
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

/** The tensors of all of a model's files. @param files the first; the others are added */
async function withShards(
  path: string,
  first: GgufHeader,
  files: GgufFile[],
): Promise<ReadonlyMap<string, ListedTensor>> {
  const count = first.metadata.get('split.count') ?? 1;
  if (count === 1 || count === 0) return first.tensors;
  const [, stem, number] = shardName.exec(basename(path)) ?? [];
  if (typeof count !== 'number' || !(count <= mostShards) || stem === undefined || Number(number) !== 1) {
    throw new LinnetError(
      'FORMAT',
      `${path} is one of several files (split.count); they must be named NAME-00001-of-0000N.gguf`,
    );
  }
  const tensors = new Map(first.tensors);
  const digits = (n: number): string => String(n).padStart(5, '0');
  for (let i = 1; i < count; i++) {
    const other = resolve(dirname(path), `${stem}-${digits(i + 1)}-of-${digits(count)}.gguf`);
    const file = await openFile(other);
    files.push(file);
    const { metadata, tensors: more } = await readGgufHeader(file.source, { arrays: false });
    if (metadata.get('split.no') !== i || metadata.get('split.count') !== count) {
      throw new LinnetError(
        'FORMAT',
        `${other} is not part ${i + 1} of ${count} of the model of ${path}; fetch both again`,
      );
    }
    for (const [name, tensor] of more) {
      if (tensors.has(name))
        throw new LinnetError('FORMAT', `${other} holds ${quoteName(name)}, which another part holds`);
      tensors.set(name, tensor);
    }
  }
  const total = first.metadata.get('split.tensors.count');
  if (total === undefined || total === tensors.size) return tensors;
  throw new LinnetError(
    'FORMAT',
    `the files of ${path} hold ${tensors.size} of ${String(total)} tensors; fetch them again`,
  );
}
