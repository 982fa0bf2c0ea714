import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { songRows } from '../../../test/cli/text-data.ts';
import { largestChange } from '../../../test/models/parameter-change.ts';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { scratchFolder } from '../../../test/scratch-folder.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { gradients } from '../../graph/gradients.ts';
import { Graph } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { dataOf, float32, zeros } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { parseTrainingSettings } from '../settings.ts';
import { train, type TrainingOutcome } from '../trainer.ts';
import { openCachedLogits, cachedLogitsBytes, cachedLogitsObjective, topDivergence } from './cached-logits.ts';
import type { KeptFeature } from '../updates.ts';
import { attentionParameters, logitsObjective, transferParameters } from './distillation.ts';

const teacher = describeCausalModel(tinyConfig('llama'));
const model = teacher.withMixers(teacher.mixers.map(() => mixerPreset('augmented', { group: 8, kernel: 9 })));
const original = initializeParameters(teacher, new Random(3), 0.3);
const student = new Map([...initializeParameters(model, new Random(4), 0.3), ...original]);
const trained = attentionParameters(teacher, model);
const parameters = transferParameters({ model, parameters: student }, original, trained);
const { vocabulary } = model.sizes;

async function opened(folder: string, k: number, changes: { origin?: string; empty?: boolean } = {}) {
  const { origin = 'teacher', empty = false } = changes;
  const given = empty ? new Map<never, never>() : parameters;
  return await openCachedLogits({
    teacher,
    student: model,
    trained,
    parameters: given,
    origin,
    dataset: await songRows(),
    k,
    folder,
  });
}

async function rowOf(cached: KeptFeature, row: number): Promise<Float32Array> {
  const target = new Float32Array(cached.shape.reduce((a, b) => a * b));
  await cached.copyRow(row, target);
  return target;
}

describe('the divergence of the most likely tokens', () => {
  it('is that of distributions in which all others are one, with its gradient', async () => {
    const [V, k] = [7, 3];
    const random = new Random(5);
    const [taught, own] = [0, 1].map(() => softmaxOf(Array.from({ length: V }, () => 3 * random.normal())));
    const top = taught
      .map((p, token) => ({ p, token }))
      .sort((a, b) => b.p - a.p)
      .slice(0, k);
    const graph = new Graph('divergence');
    const logits = graph.input('logits', 'float32', [1, V]);
    const target = graph.input('taught', 'float32', [1, 2 * k]);
    const loss = sum(topDivergence(target, logits));
    graph.output('loss', loss);
    graph.output('gradient', gradients(loss, [logits])[0]);
    await using program = await compile(graph);
    const numbers = [...top.map(({ token }) => token), ...top.map(({ p }) => Math.log(p))];
    const results = await program.run(
      { logits: float32([1, V], own.map(Math.log)), taught: float32([1, 2 * k], numbers) },
      ['loss', 'gradient'],
    );
    const rest = (of: readonly number[]): number => 1 - top.reduce((total, { token }) => total + of[token], 0);
    const term = (p: number, q: number): number => p * Math.log(p / q);
    const expected = top.reduce((total, { p, token }) => total + term(p, own[token]), term(rest(taught), rest(own)));
    expect(dataOf(results.loss, 'float32')[0]).toBeCloseTo(expected, 5);
    const whole = taught.reduce((total, p, token) => total + term(p, own[token]), 0);
    expect(expected).toBeLessThan(whole);
    dataOf(results.gradient, 'float32').forEach((value, token) => {
      const isTop = top.some((one) => one.token === token);
      const wanted = isTop ? own[token] - taught[token] : own[token] * (1 - rest(taught) / rest(own));
      expect(value).toBeCloseTo(wanted, 5);
    });
  });

  function softmaxOf(logits: readonly number[]): number[] {
    const exponentials = logits.map(Math.exp);
    const total = exponentials.reduce((a, b) => a + b);
    return exponentials.map((value) => value / total);
  }
});

describe('cached logits', () => {
  it('are asked for once, also by a later process, and again where they are damaged or of another teacher', async () => {
    const folder = await scratchFolder();
    const k = 8;
    const first = await (async () => {
      await using cached = await opened(folder, k);
      return await rowOf(cached, 1);
    })();
    const dataset = await songRows();
    expect(first.subarray(0, k).every((token) => Number.isInteger(token) && token < vocabulary)).toBe(true);
    const total = first.subarray(k, 2 * k).reduce((sum, score) => sum + Math.exp(score), 0);
    expect(total).toBeGreaterThan(k / vocabulary);
    expect(total).toBeLessThan(1);
    {
      await using cached = await opened(folder, k, { empty: true });
      expect(await rowOf(cached, 1)).toEqual(first);
      await expect(rowOf(cached, 0)).rejects.toThrow();
    }
    {
      await using cached = await opened(folder, k, { empty: true, origin: 'another' });
      await expect(rowOf(cached, 1)).rejects.toThrow();
    }
    const file = await open(join(folder, 'teacher-logits.bin'), 'r+');
    await file.write(Buffer.from([1, 2, 3]), 0, 3, cachedLogitsBytes({ rows: 1, length: dataset.length }, k) + 40);
    await file.close();
    {
      await using cached = await opened(folder, k, { empty: true });
      await expect(rowOf(cached, 1)).rejects.toThrow();
    }
    await using cached = await opened(folder, k);
    expect(await rowOf(cached, 1)).toEqual(first);
  });

  it('are refused of a teacher whose predictions are not numbers', async () => {
    const broken = new Map([...parameters].map(([name, { shape }]) => [name, zeros('float32', shape)] as const));
    for (const { data } of broken.values()) data.fill(Number.NaN);
    await using cached = await openCachedLogits({
      teacher,
      student: model,
      trained,
      parameters: broken,
      origin: 'teacher',
      dataset: await songRows(),
      k: 8,
      folder: await scratchFolder(),
    });
    await expect(rowOf(cached, 0)).rejects.toMatchObject({ code: 'RUNTIME' });
  });

  it('of all tokens teach what the teacher itself does, of a part nearly the same', async () => {
    const dataset = await songRows();
    const settings = parseTrainingSettings({ batch: 2, length: 20, steps: 12, learningRate: 1e-2, seed: 1 });
    const job = { model, parameters, dataset, settings, trainable: (name: string) => trained.has(name) };
    const exact = await train({ ...job, objective: logitsObjective(teacher, model, 20, trained) });
    const learned = async (k: number): Promise<TrainingOutcome> => {
      await using feature = await opened(await scratchFolder(), k);
      return await train({ ...job, feature, objective: cachedLogitsObjective(model, 20, k) });
    };
    const [whole, part] = [await learned(vocabulary), await learned(64)];
    expect(whole.losses[0]).toBeCloseTo(exact.losses[0], 5);
    expect(largestChange(whole.parameters, exact.parameters)).toBeLessThan(2e-3);
    expect(part.losses[0]).toBeLessThan(exact.losses[0]);
    expect(part.losses.at(-1)).toBeLessThan(0.8 * part.losses[0]);
  });
});
