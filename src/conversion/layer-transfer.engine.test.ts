/** Layers learn by themselves from cached activations: in any order, across stops, without the teacher. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { errorCode } from '../../test/error-code.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import type { MixerInput } from '../attention/kinds/index.ts';
import { parseMixer } from '../attention/mixers.ts';
import { PackedDataset } from '../data/datasets/packing.ts';
import { float32, type Tensor } from '../graph/tensor.ts';
import { linearize } from '../models/linearization/linearize.ts';
import { parseTrainingSettings } from '../training/settings.ts';
import { cacheActivations, LayerActivations } from './activation-cache.ts';
import { layerSamples } from './layer-samples.ts';
import { layerStepTimes, type LayerTrainingOptions, trainLayer } from './layer-transfer.ts';

const compile = { threads: 1 };
const folder = suiteFolder();
const n = 20;
const softmax: MixerInput = { kind: 'softmax' };
const teacherModel = tinyLlama([softmax, softmax, softmax]);
const teacher = { model: teacherModel, parameters: float32Only(randomParameters(teacherModel, 3)) };
const window = parseMixer({ kind: 'window', group: 2, window: 2, sinks: 1, memory: { decay: 'learned' } });
/** Layer 1 keeps softmax. */
const student = linearize(teacher.model, teacher.parameters, window, [0, 2]);
const tokens = randomTokens(teacherModel, 12 * n + 1, 5);
const rows = new PackedDataset({
  ...{ length: n, documents: 1, padId: 0, tokens },
  starts: Int32Array.from({ length: 12 }, (_, i) => i * n),
  // The last row is shorter: what follows is padding.
  counts: Int32Array.from({ length: 12 }, (_, i) => (i === 11 ? 8 : n + 1)),
});
const settings = parseTrainingSettings({ steps: 12, batch: 4, length: n, learningRate: 0.03, schedule: 'constant' });

function float32Only(given: ReadonlyMap<string, Tensor>): Map<string, Tensor<'float32'>> {
  return new Map([...given].map(([name, { shape, data }]) => [name, float32(shape, Float32Array.from(data, Number))]));
}

async function cached(name: string): Promise<string> {
  const place = join(folder, name);
  await cacheActivations(teacher, rows, place, { layers: [0, 2], origin: 'teacher', compile });
  return place;
}

const learn = (place: string, layer: number, more: Partial<LayerTrainingOptions> = {}) =>
  trainLayer(student, layer, place, { settings, compile, ...more });

describe('cached activations', () => {
  it('are what the teacher reads and mixes', async () => {
    await using activations = await LayerActivations.open(await cached('same'));
    expect(activations.layers).toEqual([0, 2]);
    const samples = await layerSamples(teacher.model, teacher.parameters, [rows.row(3).inputs], compile);
    for (const layer of [0, 2]) {
      const { data, shape } = await activations.read(layer, 3);
      const [{ q, k, v, mixed }] = samples[layer];
      const expected = Array.from({ length: n }, (_, t) =>
        [q, k, v, mixed].flatMap((part) => [
          ...part.data.subarray((t * part.data.length) / n, ((t + 1) * part.data.length) / n),
        ]),
      ).flat();
      expect(shape).toEqual([n, expected.length / n]);
      expected.forEach((x, i) => expect(data[i]).toBeCloseTo(x, 5));
    }
  });

  it('weigh padding with nothing', async () => {
    await using activations = await LayerActivations.open(await cached('padded'));
    const { weights } = activations.dataset(10, 12).batch([{ row: 1, epoch: 0 }]);
    expect([...weights.data].map(Number)).toEqual(Array.from({ length: n }, (_, t) => (t < 7 ? 1 : 0)));
  });

  it('are not written again for the same teacher and rows, and are for others', async () => {
    const place = await cached('kept');
    const identity = async (): Promise<string> => {
      await using activations = await LayerActivations.open(place);
      return activations.identity;
    };
    const first = await identity();
    const progress: number[] = [];
    const options = { layers: [0, 2], compile, onProgress: (done: number) => void progress.push(done) };
    await cacheActivations(teacher, rows, place, { ...options, origin: 'teacher' });
    expect(progress).toEqual([]);
    await cacheActivations(teacher, rows, place, { ...options, origin: 'another' });
    expect(progress).toEqual([12]);
    expect(await identity()).not.toBe(first);
  });
});

describe('a layer', () => {
  let unbroken: Awaited<ReturnType<typeof learn>>;
  beforeAll(async () => {
    const place = await cached('unbroken');
    unbroken = await learn(place, 0);
  });

  it('comes closer to the teacher on rows that it was not trained on', () => {
    expect(unbroken.steps).toBe(12);
    expect(unbroken.after).toBeLessThan(0.95 * unbroken.before);
    expect([...unbroken.parameters.keys()].every((name) => name.startsWith('model.layers.0.'))).toBe(true);
  });

  it('learns the same whatever was trained before it', async () => {
    const place = await cached('order');
    await learn(place, 2);
    expect(await learn(place, 0)).toEqual(unbroken);
  });

  it('that is done is read, not trained again', async () => {
    const place = await cached('done');
    await learn(place, 0);
    let updates = 0;
    expect(
      await learn(place, 0, {
        onUpdate: () => {
          updates++;
        },
      }),
    ).toEqual(unbroken);
    expect(updates).toBe(0);
  });

  it('stopped on the way goes on to the same numbers', async () => {
    const place = await cached('stopped');
    const stop = new AbortController();
    const stopped = learn(place, 0, {
      signal: stop.signal,
      onUpdate: ({ update }) => {
        if (update === 5) stop.abort();
      },
    });
    expect(await errorCode(() => stopped)).toBe('ABORTED');
    const updates: number[] = [];
    const resumed = await learn(place, 0, { onUpdate: ({ update }) => void updates.push(update) });
    expect(updates[0]).toBe(6);
    expect(resumed).toEqual(unbroken);
  });

  it('keeps its start where training makes it worse', async () => {
    const place = await cached('worse');
    const wild = parseTrainingSettings({ ...settings, steps: 4, learningRate: 10, schedule: 'constant' });
    const { parameters, before, after } = await learn(place, 0, { settings: wild });
    expect(after).toBeGreaterThan(before);
    for (const [name, value] of parameters) expect(value.data).toEqual(student.parameters.get(name)?.data);
  });

  it('tells how long its steps take, and leaves nothing', async () => {
    const place = await cached('timed');
    const { times, seconds } = await layerStepTimes(student, 0, place, { settings, compile });
    expect(times).toHaveLength(12);
    expect(seconds).toBeGreaterThan(times.reduce((a, b) => a + b, 0));
    let updates = 0;
    await learn(place, 0, {
      onUpdate: () => {
        updates++;
      },
    });
    expect(updates).toBe(12);
  });

  it('needs activations, and something to learn', async () => {
    const place = await cached('refused');
    expect(await errorCode(() => learn(place, 1))).toBe('CONFIG');
    expect(await errorCode(() => learn(join(folder, 'nowhere'), 0))).toBe('NOT_FOUND');
    const fixed = linearize(teacher.model, teacher.parameters, parseMixer({ kind: 'window', group: 2 }));
    expect(await errorCode(() => trainLayer(fixed, 0, place, { settings, compile }))).toBe('CONFIG');
    await cacheActivations(teacher, rows, join(folder, 'one'), { rows: 1, origin: 'teacher', compile });
    expect(await errorCode(() => learn(join(folder, 'one'), 0))).toBe('INPUT');
  });
});
