import { existsSync, mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { song, writeJsonlTexts } from '../../test/cli/text-data.ts';
import { changedParameters, expectSameWeights, losses } from '../../test/cli/trained-runs.ts';
import { saveTinyModel } from '../../test/models/tiny-model.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { mixerPreset } from '../attention/presets.ts';
import { loadCausalModel, saveModel } from '../checkpoint/load-model.ts';
import { linearize } from '../models/linearization/linearize.ts';
import { distillLayers, type DistillLayersOptions, planDistillLayers } from './distill-layers.ts';
import { transferCost } from './transfer-layers.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const options = (out: string): DistillLayersOptions => ({
  data: [at('text.jsonl')],
  steps: 12,
  batch: 2,
  learningRate: 1e-2,
  length: 21,
  threads: 1,
  out: at(out),
});

beforeAll(async () => {
  await writeJsonlTexts(at('text.jsonl'), new Array<string>(12).fill(song));
  await saveTinyModel(at('base'), 1, 'llama');
  const { model, parameters } = await loadCausalModel(at('base'));
  const student = linearize(model, parameters, mixerPreset('hedgehog', { group: 8 }));
  await saveModel(at('student'), student, { tokenizerFiles: { from: at('base') } });
});

describe.each(['original', 'converted'] as const)('layers on hidden states of the %s model', (inputs) => {
  it('learn one after the other; a run that was stopped ends with the bytes of an unbroken one', async () => {
    const whole = await distillLayers(at('base'), at('student'), { ...options(`whole-${inputs}`), inputs });
    const { layers } = whole.details;
    expect(whole.steps).toBe(12 * layers.length);
    expect(layers.length).toBeGreaterThan(1);
    for (const { before, after } of layers) expect(after).toBeLessThan(before);
    expect(await losses(whole.out)).toHaveLength(whole.steps);
    const changed = await changedParameters(at('student'), whole.out);
    expect(changed.length).toBeGreaterThan(0);
    expect(changed.every((name) => name.includes('feature'))).toBe(true);
    const stop = new AbortController();
    const part = { ...options(`part-${inputs}`), inputs };
    const onUpdate = ({ update }: { readonly update: number }) => {
      if (update === 17) stop.abort();
    };
    const stopped = distillLayers(at('base'), at('student'), part, { signal: stop.signal, onUpdate });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    const resumed: number[] = [];
    await distillLayers(
      at('base'),
      at('student'),
      { ...part, resume: true },
      { onUpdate: (e) => void resumed.push(e.update) },
    );
    expect(resumed[0]).toBe(18);
    expect(await losses(part.out)).toEqual(await losses(whole.out));
    await expectSameWeights(part.out, whole.out);
    expect(existsSync(join(`${part.out}.run`, 'layers'))).toBe(false);
  });
});

it('are kept until the folder is whole', async () => {
  const late = options('late');
  const onUpdate = ({ update, total }: { readonly update: number; readonly total: number }) => {
    if (update === total) mkdirSync(join(late.out, 'of another'), { recursive: true });
  };
  await expect(distillLayers(at('base'), at('student'), late, { onUpdate })).rejects.toMatchObject({ code: 'PATH' });
  await rm(late.out, { recursive: true });
  const resumed: number[] = [];
  await distillLayers(
    at('base'),
    at('student'),
    { ...late, resume: true },
    { onUpdate: ({ update }) => void resumed.push(update) },
  );
  expect(resumed).toEqual([]);
  expect(await losses(late.out)).toHaveLength(24);
});

it('learn in smaller micro-batches where the usual ones do not fit, and stay with them', async () => {
  const { model, parameters } = await loadCausalModel(at('base'));
  const student = linearize(model, parameters, mixerPreset('hedgehog', { group: 8 })).model;
  const sizes = { rows: 9, batch: 8, length: 512 };
  const usual = transferCost(model, student, [0, 1], sizes);
  expect(usual.microBatch).toBe(8);
  const least = transferCost(model, student, [0, 1], sizes, 1);
  expect(least.microBatch).toBe(1);
  expect(least.memoryBytes).toBeLessThan(usual.memoryBytes);
  const fitting = transferCost(model, student, [0, 1], sizes, usual.memoryBytes - 1);
  expect(fitting.microBatch).toBe(4);
  expect(fitting.memoryBytes).toBeLessThan(usual.memoryBytes);
  const stop = new AbortController();
  const apart = { ...options('apart'), microBatch: 1 };
  const stopped = distillLayers(at('base'), at('student'), apart, {
    signal: stop.signal,
    onUpdate: () => stop.abort(),
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  await distillLayers(at('base'), at('student'), { ...options('apart'), resume: true });
  await distillLayers(at('base'), at('student'), { ...options('unbroken'), microBatch: 1 });
  await expectSameWeights(at('apart'), at('unbroken'));
});

it('say before the work what it takes, and refuse what does not fit', async () => {
  const { stages } = await planDistillLayers(at('base'), at('student'), options('planned'));
  expect(stages).toMatchObject([{ name: 'layers', length: 21, batch: 2, tokens: 2 * 12 * 2 * 21 }]);
  const small = { ...options('small'), memory: '10MiB' };
  await expect(distillLayers(at('base'), at('student'), small)).rejects.toMatchObject({ code: 'CONFIG' });
  const wide = { ...options('wide'), batch: 64 };
  await expect(distillLayers(at('base'), at('student'), wide)).rejects.toThrow(/rows of text/);
  const smooth = { ...options('smooth'), labelSmoothing: 0.1 };
  await expect(distillLayers(at('base'), at('student'), smooth)).rejects.toThrow(/labelSmoothing/);
});
