/** Models of folders compute with the weights where these lie: as with weights in memory, whatever their type and layout. */
import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { loadGeneratingModel, saveModel } from '../checkpoint/load-model.ts';
import { saveCheckpoint } from '../checkpoint/save-checkpoint.ts';
import { chain } from '../attention/tree.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import { Random } from '../random.ts';
import { open, type OpenOptions } from './index.ts';

const model = describeCausalModel(tinyConfig('llama'));
const parameters = initializeParameters(model, new Random(1), 0.5);
const others = initializeParameters(model, new Random(2), 0.5);

/** Shifts the numbers of a file by a byte, so that none is aligned. */
async function moveByOne(file: string): Promise<void> {
  const bytes = await readFile(file);
  const header = Buffer.concat([bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())), Buffer.from(' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFile(file, Buffer.concat([length, header, bytes.subarray(7 + header.length)]));
}

async function logitsOf(engine: StepEngine): Promise<Float32Array> {
  const [step] = await engine.step([
    { state: engine.newState(), tree: chain(4), tokens: [1, 2, 3, 4], wanted: [0, 3] },
  ]);
  return Float32Array.of(...step.logits[0], ...step.logits[1]);
}

async function expectSame(folder: string, options?: OpenOptions): Promise<void> {
  const loaded = await loadGeneratingModel(folder);
  await using inMemory = await DecodingEngine.create(loaded.model, loaded.parameters);
  await using opened = await open(folder, options);
  expect(opened.fingerprint).toBe(loaded.fingerprint);
  const engine = await opened.engine();
  expect(await logitsOf(engine)).toEqual(await logitsOf(inMemory));
  // The weights are in no buffer of ours.
  expect(engine.program.statistics.modelBytes).toBeLessThanOrEqual(inMemory.program.statistics.modelBytes + 4096);
}

describe('weights in place', () => {
  it.each(['F32', 'F16', 'BF16'] as const)('of type %s give the logits of weights in memory', async (dtype) => {
    const folder = join(await scratchFolder(), 'model');
    await saveModel(folder, { model, parameters }, { dtype });
    await expectSame(folder);
    await expectSame(folder, { worker: true });
  });

  it('may lie in several files, and behind links', async () => {
    const place = await scratchFolder();
    const tensors = [...parameters].map(([name, { shape, data }]) => ({ name, shape, data }));
    await saveCheckpoint(join(place, 'model'), { config: model.toJson(), tensors, dtype: 'BF16', shardBytes: 5000 });
    await expectSame(join(place, 'model'));
    await saveModel(join(place, 'linked'), { model, parameters });
    for (const folder of ['blobs', 'elsewhere']) await mkdir(join(place, folder));
    const file = join(place, 'linked', 'model.safetensors');
    for (const target of [join(place, 'blobs', '1f'), join(place, 'elsewhere', 'weights')]) {
      await rename(file, target);
      await symlink(target, file);
      await expectSame(join(place, 'linked'));
      await rename(target, file);
    }
  });

  it('are read where they lie at odd places, while they are the same', async () => {
    const folder = join(await scratchFolder(), 'model');
    await saveModel(folder, { model, parameters });
    const file = join(folder, 'model.safetensors');
    await moveByOne(file);
    await expectSame(folder);
    await using opened = await open(folder);
    await saveModel(join(folder, 'others'), { model, parameters: others });
    await rename(join(folder, 'others', 'model.safetensors'), file);
    await moveByOne(file);
    await expect(opened.engine()).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it.each(['f32', 'f16'] as const)('are not those that a link leads to since (%s)', async (dtype) => {
    const place = await scratchFolder();
    const folder = join(place, 'model');
    await saveModel(folder, { model, parameters });
    await saveModel(join(place, 'others'), { model, parameters: others });
    const file = join(folder, 'model.safetensors');
    await rename(file, join(place, 'weights'));
    await symlink(join(place, 'weights'), file);
    await using opened = await open(folder, { dtype });
    await rm(file);
    await symlink(join(place, 'others', 'model.safetensors'), file);
    await expect(opened.save(join(place, 'copy'))).rejects.toMatchObject({ code: 'MISMATCH' });
    if (dtype === 'f16') await expect(opened.engine()).rejects.toMatchObject({ code: 'MISMATCH' });
    else {
      await using inMemory = await DecodingEngine.create(model, parameters);
      expect(await logitsOf(await opened.engine())).toEqual(await logitsOf(inMemory));
    }
  });

  it('are refused where they are no numbers, or have changed since', async () => {
    const folder = join(await scratchFolder(), 'model');
    await saveModel(folder, { model, parameters });
    await using opened = await open(folder);
    const [[name, first]] = parameters;
    for (const dtype of ['F32', 'F16', 'BF16'] as const) {
      const damaged = new Map(parameters).set(name, { ...first, data: first.data.with(5, Number.NaN) });
      await saveModel(folder, { model, parameters: damaged }, { dtype, replace: true });
      await expect(open(folder)).rejects.toThrow(/holds NaN at index 5/);
    }
    await expect(opened.engine()).rejects.toMatchObject({ code: 'MISMATCH' });
    await expect(opened.save(join(folder, 'copy'))).rejects.toMatchObject({ code: 'MISMATCH' });
  });
});
