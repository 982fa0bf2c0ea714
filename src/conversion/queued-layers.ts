/**
 * Layers that are trained on other machines: every layer is a job, of which the activations and the weights that it starts
 * from lie in a folder that all machines have at the same path. Results come back through the queue, bit for bit.
 */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { openModelWeights } from '../checkpoint/load-model.ts';
import { LinnetError } from '../errors.ts';
import { validated } from '../files/schema-problems.ts';
import { elementCount, float32, type Tensor } from '../graph/tensor.ts';
import type { JobHandler } from '../jobs/job.ts';
import { runJobs } from '../jobs/queue.ts';
import { requireCausal } from '../models/families/index.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { type TrainingSettings, trainingSchema } from '../training/settings.ts';
import {
  layerIdentity,
  layerMixerNames,
  type LayerTransfer,
  learnLayer,
  storedLayer,
  storeLayer,
} from './layer-transfer.ts';
import type { Weighted } from './stages.ts';

/** Names the jobs. */
export const layerJobKind = 'convert-layer';

const dataSchema = z.strictObject({
  /** Folder of the student's weights, and of the activations. */
  student: z.string().max(4096),
  activations: z.string().max(4096),
  layer: z.int().min(0),
  settings: trainingSchema,
  /** Identity of the layer's training. */
  identity: z.string().max(64),
});

const resultSchema = z.strictObject({
  steps: z.int().min(0),
  before: z.number(),
  after: z.number(),
  /** Float32, little-endian, as base64. */
  parameters: z.record(z.string(), z.base64()),
});

/** How layers are trained on other machines. */
export interface QueuedLayersOptions {
  /** Redis of the queue. */
  readonly queue: string;
  /** Folder with the weights of the student, its mixers bit for bit. */
  readonly weights: string;
  readonly settings: TrainingSettings;
  readonly signal?: AbortSignal;
  /** A layer is done; how many of how many. */
  readonly onLayer?: (done: number, total: number, result: LayerTransfer) => void;
}

/**
 * Has workers train layers that have no result yet, and keeps the results where `trainLayer` finds them.
 * @param folder filled by `cacheActivations`
 * @throws LinnetError as `runJobs`; `MISMATCH` where a worker finds other weights or activations
 */
export async function trainLayersInQueue(
  student: Weighted,
  layers: readonly number[],
  folder: string,
  { queue, weights, settings, signal, onLayer }: QueuedLayersOptions,
): Promise<void> {
  let done = 0;
  const open: { readonly layer: number; readonly identity: string }[] = [];
  for (const layer of layers) {
    const identity = await layerIdentity(student, layer, folder, settings);
    const known = await storedLayer(folder, layer, identity);
    if (known === undefined) open.push({ layer, identity });
    else onLayer?.(++done, layers.length, known);
  }
  const jobs = open.map(({ layer, identity }) => ({
    kind: layerJobKind,
    title: `layer ${layer}`,
    data: { student: resolve(weights), activations: resolve(folder), layer, settings, identity },
  }));
  await runJobs(queue, jobs, {
    signal,
    async onResult(index, value) {
      const { layer, identity } = open[index];
      const result = transferOf(value, student, layer);
      await storeLayer(folder, identity, result);
      onLayer?.(++done, layers.length, result);
    },
  });
}

/** @throws LinnetError `FORMAT` for a value that is no result of the layer */
function transferOf(value: unknown, student: Weighted, layer: number): LayerTransfer {
  const parsed = resultSchema.safeParse(value);
  if (!parsed.success) throw strange(layer);
  const { parameters: given, ...numbers } = parsed.data;
  const names = layerMixerNames(student, layer);
  if (Object.keys(given).length !== names.length) throw strange(layer);
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const name of names) {
    const shape = student.parameters.get(name)?.shape;
    const bytes = Buffer.from(Object.hasOwn(given, name) ? given[name] : '', 'base64');
    if (shape === undefined || bytes.length !== 4 * elementCount(shape)) throw strange(layer);
    const data = Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
    if (data.some((number) => !Number.isFinite(number))) throw strange(layer);
    parameters.set(name, float32(shape, data));
  }
  return { layer, ...numbers, parameters };
}

function strange(layer: number): LinnetError {
  return new LinnetError('FORMAT', `the queue holds something else than what layer ${layer} learned`);
}

/** Trains layers of the queue; only the layer's mixer is read from the student's weights. */
export function layerJobHandler(compile: CompileOptions): JobHandler {
  return async (given, { signal, folder }) => {
    const data = validated(dataSchema, given, 'INPUT', 'the job is no layer');
    const { layer, activations, identity, settings } = data;
    const student = await readMixer(data.student, layer);
    if ((await layerIdentity(student, layer, activations, settings)) !== identity) {
      throw new LinnetError(
        'MISMATCH',
        `${data.student} and ${activations} hold other weights or activations here: share the run folder among all machines`,
      );
    }
    const snapshots = join(folder, 'snapshots');
    const { parameters, steps, before, after } = await learnLayer(student, layer, activations, {
      ...{ settings, compile, signal, snapshots },
    });
    const encoded = [...parameters].map(([name, { data }]) => [name, littleEndian(data).toString('base64')]);
    return { steps, before, after, parameters: Object.fromEntries(encoded) as unknown };
  };
}

/** A model with the parameters of one layer's mixer. */
async function readMixer(folder: string, layer: number): Promise<Weighted> {
  const weights = await openModelWeights(folder);
  try {
    const model = requireCausal(weights.model);
    if (layer >= model.sizes.layers) {
      throw new LinnetError('INPUT', `${folder} has ${model.sizes.layers} layers, and no layer ${layer}`);
    }
    const parameters = new Map<string, Tensor<'float32'>>();
    for (const name of layerMixerNames({ model, parameters }, layer)) parameters.set(name, await weights.read(name));
    return { model, parameters };
  } finally {
    await weights.close();
  }
}

function littleEndian(values: ArrayLike<number>): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (let i = 0; i < values.length; i++) bytes.writeFloatLE(values[i], 4 * i);
  return bytes;
}
