/** A student whose best parameters are known is fitted to them; one that cannot do better keeps its start. */
import { describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { openCausalWeights, readParameters, saveModel } from '../checkpoint/load-model.ts';
import type { AnyParameter } from '../checkpoint/stored-parameter.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerExamples } from '../../test/attention/mixer-examples.ts';
import type { MixerInput } from '../attention/kinds/index.ts';
import { isCausal, parseMixer } from '../attention/mixers.ts';
import { float32, type Tensor } from '../graph/tensor.ts';
import { exchangedParameters, linearize } from '../models/linearization/linearize.ts';
import { calibrate } from './calibrate.ts';

const softmax: MixerInput = { kind: 'softmax' };

/** A model whose layers mix in a given way with known parameters plays the teacher. */
function teacherWith(mixer: MixerInput, change: (name: string, value: Tensor<'float32'>) => Tensor<'float32'>) {
  const model = tinyLlama([mixer, mixer]);
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const [name, { shape, data }] of randomParameters(model, 3)) {
    parameters.set(name, change(name, float32(shape, Float32Array.from(data, Number))));
  }
  return { model, parameters };
}

const texts = (count: number, n: number): Int32Array[] =>
  Array.from({ length: count }, (_, i) => randomTokens(tinyLlama([softmax]), n, 10 + i));

describe('parameters that the output is affine in', () => {
  const mixer: MixerInput = {
    kind: 'linear',
    group: 8,
    local: { scale: 'learned' },
    global: {},
    convolution: { kernel: 9 },
  };

  it('are found again: λ, α and the filter of every head', async () => {
    const teacher = teacherWith(mixer, (_, value) => value);
    // The student is the same model, with the parameters at their initial values. It differs in what is written, not in what
    // is computed, so that its layers are fitted.
    const student = { model: teacher.model, parameters: new Map(teacher.parameters) };
    const teacherModel = { ...teacher.model, mixers: teacher.model.mixers.map((own) => ({ ...own, note: 'teacher' })) };
    const { parameters, layers } = await calibrate({ ...teacher, model: teacherModel }, student, texts(4, 61), {
      threads: 1,
    });
    for (const { before, after } of layers) {
      expect(before).toBeGreaterThan(0.05);
      expect(after).toBeLessThan(1e-4);
    }
    for (const [name, { data }] of teacher.parameters) {
      const found = parameters.get(name)?.data ?? [];
      if (!name.includes('dwconv')) data.forEach((x, i) => expect(Math.abs(x - found[i]), name).toBeLessThan(0.02));
    }
  });
});

describe.each(mixerExamples.filter(({ config, kind }) => kind.family === undefined && isCausal(config)))(
  '$name',
  ({ config }) => {
    it('is not farther from softmax than its initial values are', async () => {
      const teacher = teacherWith(softmax, (_, value) => value);
      const student = linearize(teacher.model, teacher.parameters, config);
      const { parameters, layers } = await calibrate(teacher, student, texts(2, 45), { threads: 1 });
      expect(layers.map(({ layer }) => layer)).toEqual([0, 1].slice(0, layers.length));
      for (const { before, after } of layers) expect(after).toBeLessThanOrEqual(before * (1 + 1e-6));
      for (const [name, value] of parameters) {
        expect(value.shape, name).toEqual(student.parameters.get(name)?.shape);
        expect(value.data.every(Number.isFinite), name).toBe(true);
      }
    });
  },
);

it('is fitted layer by layer from a folder as in memory', async () => {
  const dir = join(suiteFolder(), 'original');
  await saveModel(
    dir,
    teacherWith(softmax, (_, value) => value),
  );
  await using weights = await openCausalWeights(dir);
  const memory = await readParameters(weights);
  const { model } = weights;
  const changed = linearize(model, memory, parseMixer({ kind: 'linear', group: 8, local: {}, global: {} })).model;
  const fit = (parameters: ReadonlyMap<string, AnyParameter>) =>
    calibrate(
      { model, parameters },
      { model: changed, parameters: exchangedParameters(model, changed, parameters) },
      texts(3, 45),
      { threads: 1 },
    );
  const [whole, layers] = [await fit(memory), await fit(weights.parameters)];
  layers.layers.forEach(({ before, after }, i) => {
    expect(before).toBeGreaterThan(0);
    expect(Math.abs(after - whole.layers[i].after)).toBeLessThanOrEqual(1e-6);
    expect(Math.abs(before - whole.layers[i].before)).toBeLessThanOrEqual(1e-6);
  });
  expect(layers.layers).toHaveLength(2);
});

it('a layer that does not change is left alone', async () => {
  const teacher = teacherWith(softmax, (_, value) => value);
  const student = linearize(
    teacher.model,
    teacher.parameters,
    parseMixer({ kind: 'window', group: 4, memory: {} }),
    [1],
  );
  const { layers } = await calibrate(teacher, student, texts(2, 33), { threads: 1 });
  expect(layers.map(({ layer }) => layer)).toEqual([1]);
});

it('texts of different lengths are refused', async () => {
  const teacher = teacherWith(softmax, (_, value) => value);
  const student = linearize(teacher.model, teacher.parameters, parseMixer({ kind: 'window' }));
  await expect(calibrate(teacher, student, [...texts(1, 9), ...texts(1, 8)])).rejects.toThrow(/all of one length/);
  await expect(calibrate(teacher, student, [])).rejects.toThrow(/at least one text/);
});
