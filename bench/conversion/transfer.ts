/**
 * Layer-by-layer transfer at a real model's size: peak memory and disk per token against the plan, and seconds per layer.
 * Random weights are generated on reading, so no checkpoint is needed.
 *
 *   npx tsx bench/conversion/transfer.ts SHAPE [--layers 2] [--rows 64] [--length 512] [--steps 8] [--batch 8]
 *     [--inputs original|converted] [--threads 2]
 * SHAPE is a `linnet synth --like` name or a config.json.
 * SHAPE is a name of `linnet synth --like`, or a config.json.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseMixer } from '../../src/attention/mixers.ts';
import { LayerStates } from '../../src/conversion/layer-states.ts';
import { transferCost, transferLayers } from '../../src/conversion/transfer-layers.ts';
import { PackedDataset } from '../../src/data/datasets/packing.ts';
import { parseJsonObject } from '../../src/files/json-object.ts';
import { RandomWeights } from '../../src/export/random-weights.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { freshMixerParameters } from '../../src/models/linearization/linearize.ts';
import { publishedShape } from '../../src/models/presets/presets.ts';
import { parseTrainingSettings } from '../../src/training/settings.ts';

const number = (value: string) => ({ type: 'string', default: value }) as const;
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    ...{ layers: number('2'), rows: number('64'), length: number('512'), steps: number('8'), batch: number('8') },
    ...{ threads: number('2'), inputs: number('original') },
  },
});
const [shape = 'qwen2.5-0.5b'] = positionals;
const [rows, length, steps, batch, threads] = [
  ...[values.rows, values.length, values.steps, values.batch, values.threads],
].map(Number);
const inputs = values.inputs === 'converted' ? 'converted' : 'original';

const config = existsSync(shape) ? parseJsonObject(readFileSync(shape), shape) : publishedShape(shape);
const model = describeCausalModel(config);
const mixer = parseMixer({ kind: 'window', group: 64, window: 2, sinks: 4, memory: { decay: 'learned' } });
const student = model.withMixers(model.mixers.map(() => mixer));
const load = (name: string) => () => new RandomWeights(model, 1).read(name);
const parameters = new Map(
  [...model.parameters].map(([name, { shape }]) => [name, { dtype: 'float32', shape, load: load(name) } as const]),
);
const teacher = { model, parameters };
const layers = Array.from({ length: Number(values.layers) }, (_, layer) => layer);
const tokens = Int32Array.from({ length: rows * length + 1 }, (_, i) => (i * 7919) % model.sizes.vocabulary);
const dataset = new PackedDataset({
  ...{ length, documents: 1, padId: 0, tokens },
  starts: Int32Array.from({ length: rows }, (_, row) => row * length),
  counts: Int32Array.from({ length: rows }, () => length + 1),
});
const folder = await mkdtemp(join(tmpdir(), 'linnet-transfer-'));
const plan = transferCost(model, student, layers, { rows, length, batch });
let most = 0;
const measureDisk = async (): Promise<void> => {
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  most = Math.max(
    most,
    sizes.reduce((a, b) => a + b, 0),
  );
};
const watch = setInterval(() => void measureDisk().catch(() => undefined), 50);
const started = performance.now();
let passes = 0;
const stepSeconds: number[] = [];
try {
  const states = new LayerStates(folder, {
    ...{ teacher, student: { model: student, parameters: freshMixerParameters(student) }, inputs, dataset, rows },
    ...{ origin: shape, compile: { threads } },
    onProgress: () => {
      passes++;
    },
  });
  const reader = { teacher, student: { model: student, parameters: freshMixerParameters(student) } };
  const settings = parseTrainingSettings({ steps, batch, length, learningRate: 1e-2, schedule: 'constant' });
  await transferLayers(reader, layers, states, folder, {
    ...{ settings, compile: { threads } },
    onUpdate: (_, { seconds }) => void stepSeconds.push(seconds),
  });
  const inSteps = stepSeconds.reduce((a, b) => a + b, 0);
  const total = (performance.now() - started) / 1000;
  await measureDisk();
  const results = {
    ...{ shape, inputs, layers: layers.length, rows, length, steps, batch, threads },
    peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
    plannedMiB: Math.round(plan.memoryBytes / 2 ** 20),
    diskBytesPerToken: Math.round(most / (rows * length)),
    plannedDiskBytesPerToken: Math.round(plan.diskBytes / (rows * length)),
    secondsPerStep: Number(
      (stepSeconds.slice(1).sort((a, b) => a - b)[Math.floor(stepSeconds.length / 2)] ?? 0).toFixed(3),
    ),
    passRuns: passes,
    secondsOutsideSteps: Number((total - inSteps).toFixed(1)),
    seconds: Number(total.toFixed(1)),
  };
  console.log(JSON.stringify(results, undefined, 2));
} finally {
  clearInterval(watch);
  await rm(folder, { recursive: true, force: true });
}
