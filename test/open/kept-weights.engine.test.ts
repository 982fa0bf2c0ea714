/** Weights that are kept in fewer bits are those that would be encoded anew, and the checkpoint is not read for them again. */
import { mkdir, readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { loadCausalModel, openModelWeights } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { greedyTexts } from '../../src/evaluation/agreement/agreement.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
import { lockFolder } from '../../src/files/folder-lock.ts';
import { temporarySibling } from '../../src/files/temporary-files.ts';
import { requireGenerating } from '../../src/models/families/index.ts';
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
  expect(first?.fingerprint).toBeUndefined();
  {
    await using engine = await first?.engine(model, readerOf(parameters), fingerprint);
    expect(engine && (await write(engine))).toEqual(expected);
  }
  const second = await open();
  expect(second?.fingerprint).toBe(fingerprint);
  await using engine = await second?.engine(model, readerOf(new Map()), fingerprint); // nothing is read
  expect(engine && (await write(engine))).toEqual(expected);

  const full = await keptWeights(source, 'int4', {}, { cache: join(source, 'config.json'), least: 0 });
  expect(await full?.engine(model, readerOf(parameters), fingerprint)).toBeUndefined(); // no place to keep them

  expect(await keptWeights(source, 'int4', {}, { cache })).toBeUndefined(); // small enough to be encoded at each start
  await rm(source, { recursive: true });
  await saveTinyModel(source, 2, 'llama');
  expect((await open())?.fingerprint).toBeUndefined();
});

it('writes damaged weights again, alone, and clears away what it replaces and what killed processes left', async () => {
  const source = join(folder, 'damaged');
  const cache = join(folder, 'cache-of-damaged');
  const weightsFolder = join(cache, 'weights');
  const open = async () => {
    await using stored = await openModelWeights(source);
    const kept = await keptWeights(source, 'int4', { threads: 1 }, { cache, least: 0 });
    const model = requireGenerating(stored.model);
    await using engine = await kept?.engine(model, stored, 'f'.repeat(64));
    return { fingerprint: kept?.fingerprint, isKept: engine !== undefined };
  };
  await saveTinyModel(source, 1, 'llama');
  {
    await using _other = await lockFolder(weightsFolder);
    expect(await open()).toEqual({ fingerprint: undefined, isKept: false });
  }
  expect(await open()).toEqual({ fingerprint: undefined, isKept: true });
  const [name] = await readdir(weightsFolder);
  expect(await open()).toEqual({ fingerprint: 'f'.repeat(64), isKept: true });
  if (process.platform !== 'win32') expect((await stat(weightsFolder)).mode & 0o077).toBe(0);

  // Of a process with this id that began at another time.
  const leftover = temporarySibling(join(weightsFolder, name)).replace(/-[^-]+-([^-]+)$/, '-00000000.1-$1');
  await mkdir(leftover);
  await truncate(join(weightsFolder, name, 'model.onnx'), 10);
  expect(await open()).toEqual({ fingerprint: undefined, isKept: true });
  expect(await readdir(weightsFolder)).toEqual([name]);

  for (let i = 0; i < 9; i++) await mkdir(join(weightsFolder, `of-another-${i}`));
  await rm(source, { recursive: true });
  await saveTinyModel(source, 2, 'llama');
  expect(await open()).toEqual({ fingerprint: undefined, isKept: true });
  expect(await open()).toEqual({ fingerprint: 'f'.repeat(64), isKept: true });
  expect(await readdir(weightsFolder)).toHaveLength(8);
});
