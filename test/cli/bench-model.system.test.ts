/** The speed benchmarks of a model, on an exported folder: what they print for machines. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { mixerPreset } from '../../src/attention/presets.ts';
import { exportModel } from '../../src/export/export-model.ts';
import { RandomWeights } from '../../src/export/random-weights.ts';
import { weightBytesPerToken } from '../../src/evaluation/speed/memory-traffic.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { tinyLlama } from '../models/tiny-llama.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 })]);
const place = suiteFolder();
const folder = join(place, 'model');
beforeAll(async () => {
  await exportModel(folder, { model, weights: new RandomWeights(model, 1), dtype: 'w8a8' });
});

const positive = z.number().positive();
const shared = { tokensPerSecond: positive, stateBytes: positive, peakMemoryBytes: positive };

const bench = (what: string, ...words: string[]): Promise<unknown> =>
  runJson('bench', what, folder, '--threads', '1', ...words);

describe('benchmarks of an exported folder', () => {
  it('decode tells speed, constant state and bandwidth by context, and where a step goes', async () => {
    const row = z.object({ ...shared, context: positive, stepMs: positive, bandwidthShare: positive });
    const ops = z.array(z.object({ opType: z.string(), count: positive, ms: z.number() }));
    const schema = z.object({ rows: z.array(row), profiles: z.array(z.object({ kernelMs: positive, ops })).length(1) });
    const words = ['--context', '16,100000', '--steps', '4', '--profile'];
    const { rows, profiles } = schema.parse(await bench('decode', ...words));
    expect(rows.map(({ context }) => context)).toEqual([16, 100_000]);
    expect(rows[0].stateBytes).toBe(rows[1].stateBytes);
    expect(profiles[0].ops.find(({ opType }) => opType === 'MatMulIntegerToFloat')?.count).toBe(5);
  });

  it('prefill tells tokens per second by length', async () => {
    const schema = z.object({ rows: z.array(z.object({ ...shared, context: positive, promptMs: positive })) });
    const { rows } = schema.parse(await bench('prefill', '--context', '5,70', '--runs', '1'));
    for (const { context, promptMs, tokensPerSecond } of rows) {
      expect(tokensPerSecond).toBeCloseTo((1000 * context) / promptMs, 6);
    }
    expect(rows.map(({ context }) => context)).toEqual([5, 70]);
  });

  it('verify compares trees with one node', async () => {
    const row = z.object({ ...shared, nodes: positive, stepMs: positive, ratio: positive });
    const { rows } = z.object({ rows: z.array(row) }).parse(await bench('verify', '--nodes', '1,5', '--rounds', '2'));
    expect(rows.map(({ nodes }) => nodes)).toEqual([1, 5]);
    expect(rows[0].ratio).toBe(1);
  });

  it.each([
    ['prefill', '--nodes', '4'],
    ['verify', '--profile'],
    ['decode', '--temperature', '1'],
  ])('%s refuses %s, which another one has', async (what, option, ...value) => {
    const { exitCode, stderr } = await runCaptured(['bench', what, folder, option, ...value]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`bench ${what} does not take ${option}`);
  });

  it('verify refuses two contexts', async () => {
    const { stderr } = await runCaptured(['bench', 'verify', folder, '--context', '8,16']);
    expect(stderr).toContain('bench verify takes one --context');
  });
});

it('a token reads all matrices but the table of embeddings', () => {
  const bytes = (dtype: 'f32' | 'w8a8'): number => weightBytesPerToken({}, model, { dtype });
  const table = model.sizes.vocabulary * model.sizes.width;
  const all = [...model.parameters.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  expect(bytes('f32')).toBe(4 * (all - table));
  expect(bytes('w8a8')).toBeLessThan(1.6 * (all - table));
});
