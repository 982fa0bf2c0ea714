import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { placeEngine } from './engine-placement.ts';

/** A folder with files of so many MiB, which take no room on disk. */
async function folderOf(sizes: Readonly<Record<string, number>>): Promise<string> {
  const folder = await scratchFolder();
  for (const [name, size] of Object.entries(sizes)) {
    await writeFile(join(folder, name), 'GGUF');
    await truncate(join(folder, name), size * 2 ** 20);
  }
  return folder;
}

describe('placeEngine', () => {
  it('takes small models inline with one thread, and others in a thread of their own', async () => {
    const small = await folderOf({ 'model.safetensors': 16, 'tokenizer.json': 30 });
    const large = await folderOf({ 'model-1.safetensors': 16, 'model-2.safetensors': 1 });
    const exported = await folderOf({ 'model.onnx': 1, 'model.onnx.data': 17 });
    expect(await placeEngine(small, 'auto', undefined)).toEqual({ worker: false, threads: 1 });
    expect(await placeEngine(large, 'auto', undefined)).toEqual({ worker: true, threads: undefined });
    expect(await placeEngine(exported, 'auto', 2)).toEqual({ worker: true, threads: 2 });
  });

  it('counts all files of a GGUF model, and of a folder with others the one that is named', async () => {
    const parts = await folderOf({ 'm-00001-of-00002.gguf': 1, 'm-00002-of-00002.gguf': 16 });
    const several = await folderOf({ 'small.gguf': 16, 'large.gguf': 17 });
    for (const large of [parts, join(parts, 'm-00002-of-00002.gguf'), join(several, 'large.gguf')]) {
      expect(await placeEngine(large, 'auto', undefined)).toEqual({ worker: true, threads: undefined });
    }
    expect(await placeEngine(join(several, 'small.gguf'), 'auto', undefined)).toEqual({ worker: false, threads: 1 });
  });

  it('does as it is told', async () => {
    const small = await folderOf({ 'model.safetensors': 1 });
    expect(await placeEngine(small, 'auto', 2)).toEqual({ worker: false, threads: 2 });
    expect(await placeEngine(small, 'thread', undefined)).toEqual({ worker: true, threads: undefined });
    expect(await placeEngine('nowhere', 'inline', undefined)).toEqual({ worker: false, threads: undefined });
  });
});
