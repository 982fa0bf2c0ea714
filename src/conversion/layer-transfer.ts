/**
 * Attention transfer of one layer: its mixer learns the teacher's mixed values from cached activations. No
 * other layer and no teacher is needed, so that layers can be trained in any order, at the same time, on several machines.
 *
 *     loss = mean over heads and their width of (student's mixed values − teacher's)²,  summed over tokens
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { mixParallel } from '../attention/mixers.ts';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { LinnetError } from '../errors.ts';
import { Graph } from '../graph/graph.ts';
import { sum } from '../graph/ops/contraction.ts';
import { mul, sub } from '../graph/ops/elementwise.ts';
import { mean } from '../graph/ops/reduce.ts';
import { dataOf, float32, type Tensor } from '../graph/tensor.ts';
import { reshape } from '../graph/ops/layout.ts';
import { freshMixerParameters } from '../models/linearization/linearize.ts';
import { mixerParameterValues, scoringOf } from '../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import type { Objective } from '../training/objectives/next-token.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { train, type TrainingJob, type UpdateEvent } from '../training/trainer.ts';
import { activationsInput, LayerActivations } from './activation-cache.ts';
import type { Weighted } from './stages.ts';

/** Rows held out to judge a trained layer: their share and largest number. */
const held = { share: 1 / 8, most: 8 };
const snapshotEvery = 100;
const metadataKey = 'layer';

/** How `trainLayer` learns. */
export interface LayerTrainingOptions {
  /** Steps, rate, batch; `length` is the activations' length. */
  readonly settings: TrainingSettings;
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Stops after the optimizer step at hand, with a snapshot. */
  readonly signal?: AbortSignal;
  /** Where snapshots go. Default: next to the activations. */
  readonly snapshots?: string;
  /** Called after every optimizer step. */
  readonly onUpdate?: (event: UpdateEvent) => void;
}

const schema = z.strictObject({
  version: z.literal(1),
  identity: z.string(),
  layer: z.int().min(0),
  steps: z.int().min(0),
  /** Σ (out − teacher)² / Σ teacher² on rows that were not trained on, before and after. */
  before: z.number(),
  after: z.number(),
});

/** The result of training one layer. */
export interface LayerTransfer extends Omit<z.infer<typeof schema>, 'version' | 'identity'> {
  /** The layer's mixer, by full names: trained, or unchanged where training did not lower the error. */
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
}

/** The names of the parameters of a layer's mixer. */
export function layerMixerNames({ model }: Weighted, layer: number): string[] {
  return [...freshMixerParameters(model, (index) => index === layer).keys()];
}

/**
 * Trains the mixer of one layer on cached activations. The result is written into the folder; where it is there already, from
 * the same start and settings, it is read. A training that was stopped goes on from its newest snapshot.
 *
 * @param folder filled by `cacheActivations`
 * @throws LinnetError `NOT_FOUND` without activations, `CONFIG` for a layer that has none or whose mixer has nothing to learn,
 *   `INPUT` for fewer than two rows, `ABORTED` by the signal, after a snapshot
 * @example
 * const { parameters, before, after } = await trainLayer(student, 3, 'runs/activations', {
 *   settings: parseTrainingSettings({ steps: 200, batch: 8, learningRate: 1e-2 }),
 * });
 */
export async function trainLayer(
  student: Weighted,
  layer: number,
  folder: string,
  options: LayerTrainingOptions,
): Promise<LayerTransfer> {
  const identity = await layerIdentity(student, layer, folder, options.settings);
  const done = await storedLayer(folder, layer, identity);
  if (done !== undefined) return done;
  const result = await learnLayer(student, layer, folder, options);
  await storeLayer(folder, identity, result);
  await rm(snapshotsOf(folder, layer), { recursive: true, force: true });
  return result;
}

/** Identity of a layer's training, as a SHA-256: its start, the activations, the settings. @throws LinnetError as `trainLayer` */
export async function layerIdentity(
  student: Weighted,
  layer: number,
  folder: string,
  settings: TrainingSettings,
): Promise<string> {
  await using activations = await LayerActivations.open(folder);
  return identityOf(student, requireTrainable(student, layer, activations), activations, settings, layer);
}

/**
 * Trains a layer as `trainLayer` does; writes nothing but snapshots.
 * @param student only its mixer parameters of the layer are read
 */
export async function learnLayer(
  student: Weighted,
  layer: number,
  folder: string,
  { settings, compile: compileOptions, signal, onUpdate, snapshots }: LayerTrainingOptions,
): Promise<LayerTransfer> {
  await using activations = await LayerActivations.open(folder);
  const start = requireTrainable(student, layer, activations);
  const identity = identityOf(student, start, activations, settings, layer);
  const judgedFrom = trainedRows(activations);
  const before = await layerError(student, start, layer, activations, judgedFrom, compileOptions);
  const outcome = await train({
    ...layerJob(student, layer, activations, judgedFrom),
    ...{ parameters: start, settings, compile: compileOptions, signal, onUpdate },
    variant: { identity },
    snapshots: { folder: snapshots ?? snapshotsOf(folder, layer), every: snapshotEvery },
  });
  if (!outcome.finished) {
    throw new LinnetError('ABORTED', `stopped in layer ${layer} after ${outcome.updates} of ${outcome.total} steps`);
  }
  const after = await layerError(student, outcome.parameters, layer, activations, judgedFrom, compileOptions);
  return { layer, steps: outcome.updates, before, after, parameters: after < before ? outcome.parameters : start };
}

function snapshotsOf(folder: string, layer: number): string {
  return join(folder, `layer-${layer}`);
}

function resultOf(folder: string, layer: number): string {
  return join(folder, `layer-${layer}.safetensors`);
}

/**
 * Seconds per optimizer step of `settings` in one layer, and in total with the preparation; nothing is written.
 * @throws LinnetError as `trainLayer`
 */
export async function layerStepTimes(
  student: Weighted,
  layer: number,
  folder: string,
  { settings, compile: compileOptions, signal }: Omit<LayerTrainingOptions, 'onUpdate'>,
): Promise<{ times: number[]; seconds: number }> {
  const started = performance.now();
  await using activations = await LayerActivations.open(folder);
  const parameters = requireTrainable(student, layer, activations);
  const times: number[] = [];
  await train({
    ...layerJob(student, layer, activations, trainedRows(activations)),
    ...{ parameters, settings, compile: compileOptions, signal },
    onUpdate: (event) => void times.push(event.seconds),
  });
  return { times, seconds: (performance.now() - started) / 1000 };
}

/** Number of rows to train on; the rest judge. @throws LinnetError `INPUT` for fewer than two in all */
function trainedRows({ rows }: LayerActivations): number {
  const judged = Math.max(1, Math.min(held.most, Math.floor(held.share * rows)));
  if (rows > judged) return rows - judged;
  throw new LinnetError('INPUT', 'a layer is trained on at least two rows; cache more of them');
}

/** Options of `train` for a layer, except its start and length. */
function layerJob(
  { model }: Weighted,
  layer: number,
  activations: LayerActivations,
  rows: number,
): Pick<TrainingJob, 'model' | 'objective' | 'dataset' | 'feature'> {
  const own = freshMixerParameters(model, (index) => index === layer);
  const declared = [...model.parameters].filter(([name]) => own.has(name));
  return {
    model: { parameters: new Map(declared), toJson: () => model.toJson() },
    objective: layerObjective(model, layer, activations),
    dataset: activations.dataset(0, rows),
    feature: activations.feature(layer, 0),
  };
}

function layerObjective(model: Weighted['model'], layer: number, activations: LayerActivations): Objective {
  const { shape } = activations.feature(layer, 0);
  return {
    inputs: {
      weights: { dtype: 'float32', shape: [shape[0]] },
      [activationsInput]: { dtype: 'float32', shape },
    },
    loss(source, { weights, [activationsInput]: given }) {
      const [B, n] = weights.shape.map(Number);
      const { mixed, ...projected } = activations.split(given);
      const own = mixParallel(
        model.mixers[layer],
        projected,
        mixerParameterValues(model, source, layer),
        scoringOf(model),
      );
      const difference = sub(own, mixed); // [B,n,H,E]
      return sum(mul(reshape(mean(mul(difference, difference), [2, 3]), [B, n]), weights));
    },
  };
}

/** Squared error over the teacher's squares on the rows from `first` on. */
async function layerError(
  { model }: Weighted,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  layer: number,
  activations: LayerActivations,
  first: number,
  options?: CompileOptions,
): Promise<number> {
  const { shape } = activations.feature(layer, first);
  const graph = new Graph(`error of layer ${layer}`);
  const given = graph.input(activationsInput, 'float32', [1, ...shape]);
  const weights = graph.input('weights', 'float32', [1, shape[0]]);
  const loss = layerObjective(model, layer, activations).loss(new WeightParameters(graph, parameters), {
    weights,
    [activationsInput]: given,
  });
  const { mixed } = activations.split(given);
  graph.output('error', loss);
  graph.output('squares', sum(mul(reshape(mean(mul(mixed, mixed), [2, 3]), [1, shape[0]]), weights)));
  await using program = await compile(graph, options);
  const rows = activations.dataset(first, activations.rows);
  let error = 0;
  let squares = 0;
  for (let row = 0; row < rows.rows; row++) {
    const { data } = await activations.read(layer, first + row);
    const feeds = {
      [activationsInput]: float32([1, ...shape], data),
      weights: rows.batch([{ row, epoch: 0 }]).weights,
    };
    const results = await program.run(feeds, ['error', 'squares']);
    error += dataOf(results.error, 'float32')[0];
    squares += dataOf(results.squares, 'float32')[0];
  }
  return error / squares;
}

/** The layer's own parameters as they are. */
function requireTrainable(
  student: Weighted,
  layer: number,
  activations: LayerActivations,
): Map<string, Tensor<'float32'>> {
  if (!activations.layers.includes(layer)) {
    throw new LinnetError(
      'CONFIG',
      `there are no activations of layer ${layer}; there are of ${activations.layers.join(', ')}`,
    );
  }
  const own = new Map<string, Tensor<'float32'>>();
  for (const name of layerMixerNames(student, layer)) {
    const value = student.parameters.get(name);
    if (value === undefined) throw new LinnetError('TENSOR', `parameter "${name}" is missing`);
    own.set(name, value);
  }
  if (own.size > 0) return own;
  throw new LinnetError('CONFIG', `the mixer of layer ${layer} has nothing to learn`);
}

function identityOf(
  { model }: Weighted,
  start: ReadonlyMap<string, Tensor<'float32'>>,
  activations: LayerActivations,
  settings: TrainingSettings,
  layer: number,
): string {
  const hash = createHash('sha256');
  // Other fields of config.json do not reach a mixer that is trained by itself.
  const { sizes, mixers, scoreScale, biasReach } = model;
  hash.update(JSON.stringify({ sizes, mixers, scoreScale, biasReach, layer, settings }));
  hash.update(activations.identity);
  for (const [name, { data }] of start) {
    hash.update(name);
    hash.update(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

/** Writes the layer's result next to the activations. */
export async function storeLayer(folder: string, identity: string, result: LayerTransfer): Promise<void> {
  const { parameters, ...numbers } = result;
  const entries = [...parameters].map(([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, data }));
  await writeSafetensors(resultOf(folder, result.layer), entries, {
    [metadataKey]: JSON.stringify({ version: 1, identity, ...numbers }),
  });
}

/** The stored result; undefined if there is none, or one of another identity. */
export async function storedLayer(folder: string, layer: number, identity: string): Promise<LayerTransfer | undefined> {
  let file;
  try {
    file = await openSafetensors(resultOf(folder, layer));
  } catch (error) {
    if (error instanceof LinnetError) return undefined;
    throw error;
  }
  try {
    const described = schema.safeParse(JSON.parse(file.metadata.get(metadataKey) ?? 'null'));
    if (!described.success || described.data.identity !== identity) return undefined;
    const { version: _, identity: __, ...numbers } = described.data;
    const parameters = new Map<string, Tensor<'float32'>>();
    for (const name of file.names()) parameters.set(name, await file.readFloat32(name));
    return { ...numbers, parameters };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    await file.close();
  }
}
