/** Weights that are kept in fewer bits are those that would be encoded anew, and the checkpoint is not read for them again. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { greedyTexts } from '../../src/evaluation/agreement/agreement.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
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
