/** Layers learn by themselves from the hidden states before them: in any order, across stops. */
import { copyFile, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { errorCode } from '../../test/error-code.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import type { MixerInput } from '../attention/kinds/index.ts';
import { parseMixer } from '../attention/mixers.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { PackedDataset } from '../data/datasets/packing.ts';
import { Graph } from '../graph/graph.ts';
import { float32, int32, type Tensor } from '../graph/tensor.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { parallelHidden } from '../models/graphs/parallel-graph.ts';
import { linearize } from '../models/linearization/linearize.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile as runtimeCompile } from '../runtime/compile.ts';
import { parseTrainingSettings } from '../training/settings.ts';
import { openHiddenFile } from './hidden-states.ts';
import { LayerStates, type LayerStatesOptions } from './layer-states.ts';
import { layerStepTimes, type LayerTrainingOptions, transferLayer } from './layer-transfer.ts';

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
  length: n,
  documents: 1,
  padId: 0,
  tokens,
  starts: Int32Array.from({ length: 12 }, (_, i) => i * n),
  // The last row is shorter: what follows is padding.
  counts: Int32Array.from({ length: 12 }, (_, i) => (i === 11 ? 8 : n + 1)),
});
const settings = parseTrainingSettings({ steps: 12, batch: 4, length: n, learningRate: 0.03, schedule: 'constant' });

function float32Only(given: ReadonlyMap<string, Tensor>): Map<string, Tensor<'float32'>> {
  return new Map([...given].map(([name, { shape, data }]) => [name, float32(shape, Float32Array.from(data, Number))]));
}

const statesIn = (place: string, more: Partial<LayerStatesOptions> = {}): LayerStates =>
  new LayerStates(place, {
    teacher,
    student,
    inputs: 'original',
    dataset: rows,
    rows: 12,
    origin: 'teacher',
    compile,
    ...more,
  });

async function learn(place: string, layer: number, more: Partial<LayerTrainingOptions> = {}) {
  const states = await statesIn(join(folder, place), { keepAll: true }).before(layer);
  return await transferLayer({ teacher, student, states }, layer, join(folder, place), {
    settings,
    compile,
    ...more,
  });
}

/** Hidden states after each layer, at which whole models are cut, as outputs named by the layer. */
function outputLayers(graph: Graph): void {
  const [, ...after] = graph.cuts;
  for (const [layer, hidden] of after.entries()) graph.output(String(layer), hidden);
}

describe('hidden states', () => {
  it('are those of the whole model, and of all files the newest stays', async () => {
    const place = join(folder, 'same');
    const graph = new Graph('whole model');
    const tokens = graph.input('tokens', 'int32', [1, n]);
    parallelHidden(teacher.model, new WeightParameters(graph, teacher.parameters), tokens);
    outputLayers(graph);
    await using program = await runtimeCompile(graph, compile);
    const whole = await program.run({ tokens: int32([1, n], rows.row(3).inputs) }, ['0', '1']);
    const states = statesIn(place);
    for (const layer of [1, 2]) {
      await using file = await openHiddenFile(await states.before(layer));
      const { data } = await file.read(3);
      whole[layer === 1 ? '0' : '1'].data.forEach((x, i) => expect(data[i]).toBeCloseTo(Number(x), 5));
    }
    expect((await readdir(place)).sort()).toEqual(['hidden-2.safetensors', 'transfer.json']);
  });

  it('follow from scores as the model scales them', async () => {
    const model = describeCausalModel(tinyConfig('granite'));
    const parameters = float32Only(randomParameters(model, 4));
    const graph = new Graph('whole model');
    const source = new WeightParameters(graph, parameters);
    parallelHidden(model, source, graph.input('tokens', 'int32', [1, n]));
    outputLayers(graph);
    await using program = await runtimeCompile(graph, compile);
    const whole = await program.run({ tokens: int32([1, n], rows.row(3).inputs) }, ['0']);
    const states = statesIn(join(folder, 'granite'), {
      teacher: { model, parameters },
      origin: 'granite',
    });
    await using file = await openHiddenFile(await states.before(1));
    const { data } = await file.read(3);
    whole['0'].data.forEach((x, i) => expect(data[i]).toBeCloseTo(Number(x), 5));
  });

  it('weigh padding with nothing', async () => {
    await using states = await openHiddenFile(await statesIn(join(folder, 'padded')).before(0));
    const { weights } = states.dataset(10, 12).batch([{ row: 1, epoch: 0 }]);
    expect([...weights.data].map(Number)).toEqual(Array.from({ length: n }, (_, t) => (t < 7 ? 1 : 0)));
  });

  it('are not computed again for the same model and rows, and are for others and for damaged ones', async () => {
    const place = join(folder, 'kept');
    const passes = async (origin: string): Promise<number[]> => {
      const progress: number[] = [];
      await statesIn(place, { origin, onProgress: (done) => void progress.push(done) }).before(1);
      return progress;
    };
    expect(await passes('teacher')).toEqual([12, 12]);
    expect(await passes('teacher')).toEqual([]);
    expect(await passes('another')).toEqual([12, 12]);
    const file = await open(join(place, 'hidden-1.safetensors'), 'r+');
    await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, (await file.stat()).size - 4);
    await file.close();
    expect(await passes('another')).toEqual([12, 12]);
  });

  it('that a killed process has left behind are removed', async () => {
    const place = join(folder, 'left');
    const kept = await statesIn(place).before(1);
    for (const layer of [0, 2]) await copyFile(kept, join(place, `hidden-${layer}.safetensors`));
    await statesIn(place).before(1);
    expect((await readdir(place)).sort()).toEqual(['hidden-1.safetensors', 'transfer.json']);
  });

  it('follow a layer that has learned something else', async () => {
    const states = statesIn(join(folder, 'learned'), { inputs: 'converted' });
    states.learned(0, student.parameters);
    const first = states.identity(1);
    await states.before(1);
    const halves = [...student.parameters].map(
      ([name, { shape, data }]) =>
        [
          name,
          float32(
            shape,
            data.map((x) => x / 2),
          ),
        ] as const,
    );
    states.learned(0, new Map(halves));
    await using file = await openHiddenFile(await states.before(1));
    expect(file.identity).toBe(states.identity(1));
    expect(file.identity).not.toBe(first);
  });

  it.each([
    ['a row of another size', { length: n, counts: [3], row: [n - 1, 4] }, /row 0 is 19 × 4, expected 20 × 4/],
    ['a row that is missing', { length: n, counts: [3, 3], row: [n, 4] }, /row 1 is missing/],
    ['more tokens than a row has', { length: n, counts: [n + 1], row: [n, 4] }, /counts more tokens than a row has/],
  ])('are refused with %s', async (name, { row, ...described }, message) => {
    const path = join(folder, `${name}.safetensors`);
    const hidden = JSON.stringify({ version: 1, identity: '', width: 4, ...described });
    const data = new Float32Array(row[0] * row[1]);
    await writeSafetensors(path, [{ name: '0', dtype: 'F32', shape: row, data }], { hidden });
    await expect(openHiddenFile(path)).rejects.toThrow(message);
  });
});

describe('a layer', () => {
  let unbroken: Awaited<ReturnType<typeof learn>>;
  beforeAll(async () => {
    unbroken = await learn('unbroken', 0);
  });

  it('comes closer to the teacher on rows that it was not trained on', () => {
    expect(unbroken.steps).toBe(12);
    expect(unbroken.after).toBeLessThan(0.95 * unbroken.before);
    expect([...unbroken.parameters.keys()].every((name) => name.startsWith('model.layers.0.'))).toBe(true);
  });

  it('learns the same whatever was trained before it', async () => {
    await learn('order', 2);
    expect(await learn('order', 0)).toEqual(unbroken);
  });

  it('that is done is read, not trained again', async () => {
    await learn('done', 0);
    let updates = 0;
    expect(
      await learn('done', 0, {
        onUpdate: () => {
          updates++;
        },
      }),
    ).toEqual(unbroken);
    expect(updates).toBe(0);
  });

  it('stopped on the way goes on to the same numbers', async () => {
    const stop = new AbortController();
    const stopped = learn('stopped', 0, {
      signal: stop.signal,
      onUpdate: ({ update }) => {
        if (update === 5) stop.abort();
      },
    });
    expect(await errorCode(() => stopped)).toBe('ABORTED');
    const updates: number[] = [];
    const resumed = await learn('stopped', 0, { onUpdate: ({ update }) => void updates.push(update) });
    expect(updates[0]).toBe(6);
    expect(resumed).toEqual(unbroken);
  });

  it('keeps its start where training makes it worse', async () => {
    const wild = parseTrainingSettings({ ...settings, steps: 4, learningRate: 10, schedule: 'constant' });
    const { parameters, before, after } = await learn('worse', 0, { settings: wild });
    expect(after).toBeGreaterThan(before);
    for (const [name, value] of parameters) expect(value.data).toEqual(student.parameters.get(name)?.data);
  });

  it('tells how long its steps take, and leaves nothing', async () => {
    const states = await statesIn(join(folder, 'timed')).before(0);
    const inputs = { teacher, student, states };
    const { times, seconds } = await layerStepTimes(inputs, 0, { settings, compile });
    expect(times).toHaveLength(12);
    expect(seconds).toBeGreaterThan(times.reduce((a, b) => a + b, 0));
    let updates = 0;
    await learn('timed', 0, {
      onUpdate: () => {
        updates++;
      },
    });
    expect(updates).toBe(12);
  });

  it('needs hidden states, and something to learn', async () => {
    expect(await errorCode(() => learn('refused', 1))).toBe('CONFIG');
    const at = (states: string, model = student) =>
      transferLayer({ teacher, student: model, states }, 0, join(folder, 'refused'), { settings, compile });
    expect(await errorCode(() => at(join(folder, 'nowhere')))).toBe('NOT_FOUND');
    const fixed = linearize(teacher.model, teacher.parameters, parseMixer({ kind: 'window', group: 2 }));
    const states = await statesIn(join(folder, 'refused')).before(0);
    expect(await errorCode(() => at(states, fixed))).toBe('CONFIG');
    await expect(at(states, { ...student, parameters: new Map() })).rejects.toThrow(/not in memory; load the student/);
    expect(await errorCode(async () => at(await statesIn(join(folder, 'one'), { rows: 1 }).before(0)))).toBe('INPUT');
  });
});
