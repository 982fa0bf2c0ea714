/** Weights that are kept in fewer bits are those that would be encoded anew, and the checkpoint is not read for them again. */
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { greedyTexts } from '../../src/evaluation/agreement/agreement.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
import { lockFolder } from '../../src/files/folder-lock.ts';
import { temporarySibling } from '../../src/files/temporary-files.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { keptWeights } from '../../src/open/kept-weights.ts';

const folder = suiteFolder();

it('opens a checkpoint in 4 bits from the weights of an earlier start', async () => {
  const source = join(folder, 'model');
  await saveTinyModel(source, 1, 'llama');
  const { model, parameters, fingerprint } = await loadCausalModel(source);
  const cache = join(folder, 'cache');
  const open = () => keptWeights(source, 'int4', { threads: 1 }, { cache, least: 0 });
  const write = async (engine: StepEngine): Promise<number[]> => {
    const [{ tokens }] = await greedyTexts(engine, [Int32Array.of(1, 5, 9)], 12);
    return [...tokens];
  };
  const dtype = 'int4';
  const encoded = storedSource(model, readerOf(parameters), { dtype, device: 'cpu' });
  await using anew = await DecodingEngine.compile(model, encoded, { threads: 1 });
  const expected = await write(anew);

  const first = await open();
  expect(first?.fingerprint).toBe(fingerprint);
  {
    await using engine = await first?.engine(model);
    expect(engine && (await write(engine))).toEqual(expected);
  }
  const written = await stat(join(cache, 'weights', (await readdir(join(cache, 'weights')))[0], 'model.onnx'));
  await using engine = await (await open())?.engine(model);
  expect(engine && (await write(engine))).toEqual(expected);
  const again = await stat(join(cache, 'weights', (await readdir(join(cache, 'weights')))[0], 'model.onnx'));
  expect(again.mtimeMs).toBe(written.mtimeMs); // nothing is written anew

  const nowhere = { cache: join(source, 'config.json'), least: 0 };
  expect(await keptWeights(source, 'int4', {}, nowhere)).toBeUndefined(); // no place to keep them

  expect(await keptWeights(source, 'int4', {}, { cache })).toBeUndefined(); // small enough to be encoded at each start
  await rm(source, { recursive: true });
  await saveTinyModel(source, 2, 'llama');
  expect((await open())?.fingerprint).toBe((await loadCausalModel(source)).fingerprint);
});

it('writes damaged weights again, alone, and clears away what it replaces and what killed processes left', async () => {
  const source = join(folder, 'damaged');
  const cache = join(folder, 'cache-of-damaged');
  const weightsFolder = join(cache, 'weights');
  const open = async () => {
    const kept = await keptWeights(source, 'int4', { threads: 1 }, { cache, least: 0 });
    return kept?.fingerprint;
  };
  /** When the graph was written. */
  const time = async (): Promise<number> => (await stat(join(weightsFolder, await ownName(), 'model.onnx'))).mtimeMs;
  const ownName = async (): Promise<string> =>
    (await readdir(weightsFolder)).find((name) => !name.startsWith('of-another')) ?? '';
  await saveTinyModel(source, 1, 'llama');
  const { fingerprint } = await loadCausalModel(source);
  {
    await using _other = await lockFolder(weightsFolder);
    expect(await open()).toBeUndefined();
  }
  expect(await open()).toBe(fingerprint);
  const [name] = await readdir(weightsFolder);
  const first = await time();
  expect(await open()).toBe(fingerprint);
  expect(await time()).toBe(first);
  if (process.platform !== 'win32') expect((await stat(weightsFolder)).mode & 0o077).toBe(0);

  // Of a process with this id that began at another time.
  const leftover = temporarySibling(join(weightsFolder, name)).replace(/-[^-]+-([^-]+)$/, '-00000000.1-$1');
  await mkdir(leftover);
  await truncate(join(weightsFolder, name, 'model.onnx'), 10);
  expect(await open()).toBe(fingerprint);
  expect(await time()).not.toBe(first);
  expect(await readdir(weightsFolder)).toEqual([name]);

  for (let i = 0; i < 9; i++) await mkdir(join(weightsFolder, `of-another-${i}`));
  await rm(source, { recursive: true });
  await saveTinyModel(source, 2, 'llama');
  expect(await open()).toBe((await loadCausalModel(source)).fingerprint);
  expect(await readdir(weightsFolder)).toHaveLength(8);
});

it('removes weights whose graphs another version wrote, and says to start again', async () => {
  const source = join(folder, 'older');
  const cache = join(folder, 'cache-of-older');
  await saveTinyModel(source, 1, 'llama');
  const { model } = await loadCausalModel(source);
  const open = () => keptWeights(source, 'int4', { threads: 1 }, { cache, least: 0 });
  await open();
  const [name] = await readdir(join(cache, 'weights'));
  const manifest = join(cache, 'weights', name, 'linnet.json');
  const older: unknown = JSON.parse(await readFile(manifest, 'utf8'), (key, value: unknown) =>
    key === 'openRows' ? undefined : value,
  );
  await writeFile(manifest, JSON.stringify(older));
  await expect((await open())?.engine(model)).rejects.toThrow('from another version of Linnet and were removed');
  await using engine = await (await open())?.engine(model);
  expect(engine).toBeDefined();
});
