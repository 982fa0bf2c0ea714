/**
 * Attention transfer of one layer: on the hidden states before it, its mixer learns to mix queries, keys and values like the
 * teacher's attention. It reads only this layer of the teacher, up to its attention, so that layers can train in any order,
 * at the same time, on several machines.
 *
 *     loss = mean over heads and their width of (student's mixed values − teacher's)²,  summed over tokens
 */
import { createHash, type Hash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { float32Entries } from '../checkpoint/safetensors/encoding.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { LinnetError } from '../errors.ts';
import { jsonIn } from '../files/json-object.ts';
import { whole } from '../files/schema-values.ts';
import { declareInputs, Graph, type Value } from '../graph/graph.ts';
import { sum } from '../graph/ops/contraction.ts';
import { mul, sub } from '../graph/ops/elementwise.ts';
import { mean } from '../graph/ops/reduce.ts';
import { dataOf, float32, type WeightMap, type Weights } from '../graph/tensor.ts';
import { reshape } from '../graph/ops/layout.ts';
import { parametersOfMixers } from '../models/linearization/linearize.ts';
import { constantPositions, parallelMix, parallelMixing } from '../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../models/model.ts';
import { InputParameters, type ParameterSource, selectParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { onlyInputs } from '../runtime/program.ts';
import { nameOfTeacher, teacherSource } from '../training/objectives/distillation.ts';
import { readerOf } from '../quantization/weight-reader.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { runsLean } from '../training/step-cost.ts';
import { train, type TrainingJob, type UpdateEvent } from '../training/trainer.ts';
import { type HiddenFile, hiddenInput, openHiddenFile } from './hidden-states.ts';
import type { Weighted } from './stages.ts';
import { remove } from '../files/remove.ts';

/** Rows held out to judge a trained layer: their share and largest number. */
const held = { share: 1 / 8, most: 8 };
const snapshotEvery = 100;
const metadataKey = 'layer';

/** Inputs of a layer's transfer. */
export interface LayerInputs {
  readonly teacher: Weighted;
  /** Only the layer's mixer parameters are read. */
  readonly student: Weighted;
  /** The file of the hidden states before the layer. */
  readonly states: string;
}

/** Options of `transferLayer`. */
export interface LayerTrainingOptions extends Pick<TrainingJob, 'settings' | 'compile' | 'signal'> {
  /** Awaited before the first optimizer step, with the number of steps done earlier. */
  readonly onStart?: (update: number) => Promise<void>;
  /** Called after every optimizer step. */
  readonly onUpdate?: (event: UpdateEvent) => void;
}

const schema = z.strictObject({
  version: z.literal(1),
  identity: z.string(),
  layer: whole(),
  steps: whole(),
  /** Σ (out − teacher)² / Σ teacher² on held-out rows, before and after. */
  before: z.number(),
  after: z.number(),
});

/** The result of training one layer. */
export interface LayerTransfer extends Omit<z.infer<typeof schema>, 'version' | 'identity'> {
  /** The layer's mixer, by full names: trained, or unchanged if training did not lower the error. */
  readonly parameters: Weights;
}

/**
 * Trains one layer's mixer and writes the result into the folder; reads it instead if it is already there, from the same
 * start, hidden states and settings. Stopped training continues from its newest snapshot.
 *
 * @param folder for the result and snapshots
 * @throws LinnetError `NOT_FOUND` without hidden states, `CONFIG` for a layer whose mixer has nothing to learn, `INPUT` for
 *   fewer than two rows, `ABORTED` by the signal, after a snapshot
 * @example const { parameters, before, after } = await transferLayer(inputs, 3, 'runs/transfer', { settings:
 *   parseTrainingSettings({ steps: 200, batch: 8, learningRate: 1e-2 }), });
 */
export async function transferLayer(
  inputs: LayerInputs,
  layer: number,
  folder: string,
  options: LayerTrainingOptions,
): Promise<LayerTransfer> {
  await using states = await openHiddenFile(inputs.states);
  const identity = layerIdentity(inputs.student, layer, states.identity, options.settings);
  const done = await storedLayer(folder, layer, identity);
  if (done !== undefined) return done;
  const snapshots = join(folder, `layer-${layer}`);
  const result = await learnLayer(inputs, layer, snapshots, options);
  await storeLayer(folder, identity, result);
  await remove(snapshots);
  return result;
}

/** Trains a layer like `transferLayer`; writes only snapshots, into their folder. */
export async function learnLayer(
  inputs: LayerInputs,
  layer: number,
  snapshots: string,
  { settings, compile: compileOptions, signal, onStart, onUpdate }: LayerTrainingOptions,
): Promise<LayerTransfer> {
  await using layerOf = await openLayer(inputs, layer, compileOptions);
  const before = await layerOf.error(layerOf.start);
  const outcome = await train({
    ...layerOf.job,
    settings,
    signal,
    onStart,
    onUpdate,
    variant: { identity: layerIdentity(inputs.student, layer, layerOf.states.identity, settings) },
    snapshots: { folder: snapshots, every: snapshotEvery },
  });
  if (!outcome.finished) {
    throw new LinnetError('ABORTED', `stopped in layer ${layer} after ${outcome.updates} of ${outcome.total} steps`);
  }
  const after = await layerOf.error(outcome.parameters);
  const parameters = after < before ? outcome.parameters : layerOf.start;
  return { layer, steps: outcome.updates, before, after, parameters };
}

function resultOf(folder: string, layer: number): string {
  return join(folder, `layer-${layer}.safetensors`);
}

/**
 * Seconds per optimizer step of `settings` in one layer, and in total with the preparation; writes nothing.
 * @throws LinnetError like `transferLayer`
 */
export async function layerStepTimes(
  inputs: LayerInputs,
  layer: number,
  { settings, compile: compileOptions, signal }: Omit<LayerTrainingOptions, 'onStart' | 'onUpdate'>,
): Promise<{ times: number[]; seconds: number }> {
  const started = performance.now();
  await using layerOf = await openLayer(inputs, layer, compileOptions);
  const times: number[] = [];
  await train({ ...layerOf.job, settings, signal, onUpdate: (event) => void times.push(event.seconds) });
  return { times, seconds: (performance.now() - started) / 1000 };
}

/** Number of rows to train on; the rest judge. @throws LinnetError `INPUT` for fewer than two in all */
function trainedRows({ rows }: HiddenFile): number {
  const judged = Math.max(1, Math.min(held.most, Math.floor(held.share * rows)));
  if (rows > judged) return rows - judged;
  throw new LinnetError('INPUT', 'a layer needs at least two rows to train on; give more text');
}

/** A layer's rows, its initial mixer (`start`), options of `train` except the settings, and its error. Dispose of it. */
async function openLayer({ teacher, student, states: path }: LayerInputs, layer: number, options: CompileOptions = {}) {
  const states = await openHiddenFile(path);
  try {
    const start: Weights = requireTrainable(student, layer);
    const learned = layerJob(teacher.model, student.model, layer, states.description.length);
    const lean = runsLean(teacher.model.parameters, options.device);
    const graph = new Graph(`error of layer ${layer}`);
    const rows = declareInputs(graph, learned.objective.inputs, [1]);
    const errors = layerErrors(teacher.model, student.model, layer);
    const judged = errors(new InputParameters(graph), rows);
    for (const [name, value] of Object.entries(judged)) graph.output(name, value);
    const program = await compile(graph, { ...options, lean });
    const parameters = new Map(start);
    const original = readerOf(teacher.parameters);
    for (const name of program.inputs.keys()) {
      if (start.has(name) || Object.hasOwn(learned.objective.inputs, name)) continue;
      parameters.set(name, await original.read(nameOfTeacher(name)));
    }
    const judgedFrom = trainedRows(states);
    const read = { dataset: states.dataset(0, judgedFrom), feature: states.feature(0) };
    return {
      states,
      start,
      job: { ...learned, ...read, parameters, compile: { ...options, lean } },
      /** Squared error over the teacher's squares, on held-out rows. */
      async error(mixer: Weights): Promise<number> {
        const own = states.dataset(judgedFrom, states.rows);
        const weights = Object.fromEntries([...parameters, ...mixer]);
        let error = 0;
        let squares = 0;
        for (let row = 0; row < own.rows; row++) {
          const { shape, data } = await states.read(judgedFrom + row);
          const feeds = { ...weights, ...own.batch([{ row, epoch: 0 }]), [hiddenInput]: float32([1, ...shape], data) };
          const results = await program.run(onlyInputs(program, feeds), ['error', 'squares']);
          error += dataOf(results.error, 'float32')[0];
          squares += dataOf(results.squares, 'float32')[0];
        }
        return error / squares;
      },
      async [Symbol.asyncDispose](): Promise<void> {
        await program.dispose();
        await states[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await states[Symbol.asyncDispose]();
    throw error;
  }
}

/** The part of a layer's training that follows from the models alone. */
export function layerJob(
  teacher: CausalModel,
  student: CausalModel,
  layer: number,
  length: number,
): Pick<TrainingJob, 'model' | 'objective' | 'trainable'> {
  const names = parametersOfMixers(student, [layer]);
  const errors = layerErrors(teacher, student, layer);
  return {
    model: {
      parameters: selectParameters(student.parameters, (name) => names.has(name)),
      toJson: () => student.toJson(),
    },
    objective: {
      inputs: {
        weights: { dtype: 'float32', shape: [length] },
        [hiddenInput]: { dtype: 'float32', shape: [length, student.sizes.width] },
      },
      loss: (source, values) => errors(source, values).error,
    },
    trainable: (name) => names.has(name),
  };
}

/** Squares of the student's mixed values minus the teacher's, and of the teacher's, for rows with `weights` [B,n]. */
function layerErrors(teacher: CausalModel, student: CausalModel, layer: number) {
  const trained = parametersOfMixers(student, [layer]);
  return (source: ParameterSource, { [hiddenInput]: hidden, weights }: Readonly<Record<string, Value>>) => {
    const [B, n] = weights.shape.map(Number);
    const original = teacherSource(source, student, new Set(trained.keys()));
    const squares = (values: Value): Value => sum(mul(reshape(mean(mul(values, values), [2, 3]), [B, n]), weights));
    const results: { error: Value; squares: Value }[] = [];
    const [taught, learned] = [parallelMix(teacher, original), parallelMix(student, source)];
    const mixing = parallelMixing((index, projected, scoring) => {
      const mixed = taught(index, projected, scoring); // [B,n,H,E]
      if (index !== layer) return mixed;
      const own = learned(layer, projected, scoring);
      results.push({ error: squares(sub(own, mixed)), squares: squares(mixed) });
      return mixed;
    });
    teacher.layer(original, layer, hidden, constantPositions(student, source.graph, B, n), mixing);
    return results[0];
  };
}

/** The layer's own parameters, unchanged. */
function requireTrainable({ model, parameters }: Weighted, layer: number): WeightMap {
  const own: WeightMap = new Map();
  for (const name of parametersOfMixers(model, [layer]).keys()) {
    const value = parameters.get(name);
    if (value === undefined || !('data' in value))
      throw new LinnetError('TENSOR', `parameter "${name}" is not in memory; load the student with loadCausalModel`);
    own.set(name, value);
  }
  if (own.size > 0) return own;
  throw new LinnetError('CONFIG', `the mixer of layer ${layer} has nothing to learn`);
}

/**
 * Identity of a layer's training, as a SHA-256: its start, the hidden states before it, the settings.
 * @throws LinnetError `CONFIG` for a mixer with nothing to learn
 */
export function layerIdentity(student: Weighted, layer: number, states: string, settings: TrainingSettings): string {
  const hash = createHash('sha256');
  // Other config.json fields do not reach a mixer trained by itself.
  const { sizes, mixers, scoreScale, biasReach } = student.model;
  const fixed = { ...settings, microBatch: undefined }; // it follows from the memory
  hash.update(JSON.stringify({ sizes, mixers, scoreScale, biasReach, layer, settings: fixed }));
  hash.update(states);
  return hashOfTensors(hash, requireTrainable(student, layer));
}

/** The hash of names and values, after everything already in `hash`. */
export function hashOfTensors(hash: Hash, tensors: Weights): string {
  for (const [name, { data }] of tensors) {
    hash.update(name);
    hash.update(data);
  }
  return hash.digest('hex');
}

/** Writes the layer's result into the folder. */
export async function storeLayer(folder: string, identity: string, result: LayerTransfer): Promise<void> {
  const { parameters, ...numbers } = result;
  await writeSafetensors(resultOf(folder, result.layer), float32Entries(parameters), {
    [metadataKey]: JSON.stringify({ version: 1, identity, ...numbers }),
  });
}

/** The stored result; undefined if there is none, or it has another identity. */
export async function storedLayer(folder: string, layer: number, identity: string): Promise<LayerTransfer | undefined> {
  try {
    await using file = await openSafetensors(resultOf(folder, layer));
    const described = schema.safeParse(jsonIn(file.metadata.get(metadataKey)));
    if (!described.success || described.data.identity !== identity) return undefined;
    const { version: _, identity: __, ...numbers } = described.data;
    const parameters: WeightMap = new Map();
    for (const name of file.names()) parameters.set(name, await file.readFloat32(name));
    return { ...numbers, parameters };
  } catch (error) {
    if (error instanceof LinnetError) return undefined;
    throw error;
  }
}
