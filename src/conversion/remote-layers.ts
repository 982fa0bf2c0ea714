/**
 * Trains layers on other machines: every layer is a job; the original, the hidden states before the layer and the initial
 * mixer lie in folders that all machines have at the same path. Results come back through the queue, bit for bit. Machines
 * without a common disk train a share each, with results in a store.
 */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';
import { elementCount, float32, type WeightMap } from '../graph/tensor.ts';
import { type Job, type JobHandler, runJobs } from '../jobs/queue.ts';
import { parametersOfMixers } from '../models/linearization/linearize.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { chooseForm } from '../training/memory-form.ts';
import { type TrainingSettings, trainingSchema } from '../training/settings.ts';
import {
  layerIdentity,
  type LayerTrainingOptions,
  type LayerTransfer,
  learnLayer,
  storedLayer,
  storeLayer,
} from './layer-transfer.ts';
import { openHiddenFile } from './hidden-states.ts';
import { readConverted } from './converted-weights.ts';
import { openReader, type Weighted } from './stages.ts';
import { transferCost } from './transfer-layers.ts';
import { isInShare, openResults } from '../jobs/result-store.ts';
import type { ConversionOptions } from './options.ts';

/** The jobs' kind. */
export const layerJobKind = 'convert-layer';

const dataSchema = z.strictObject({
  /** The original's folder. */
  teacher: z.string().max(4096),
  /** The student's file. */
  student: z.string().max(4096),
  /** The file of the hidden states before the layer. */
  states: z.string().max(4096),
  layer: whole(),
  settings: trainingSchema,
  /** Identity of the layer's training. */
  identity: z.string().max(64),
});

const resultSchema = z.strictObject({
  steps: whole(),
  before: z.number(),
  after: z.number(),
  /** Float32, little-endian, as base64. */
  parameters: z.record(z.string(), z.base64()),
});

/** How to train layers on other machines. */
interface QueuedLayersOptions extends Pick<LayerTrainingOptions, 'settings' | 'signal'> {
  /** Redis queue. */
  readonly queue: string;
  /** The original's folder. */
  readonly teacher: string;
  /** The student's file by `writeConverted`. */
  readonly weights: string;
  /** Called when a layer is done; how many of how many. */
  readonly onLayer?: (done: number, total: number, result: LayerTransfer) => void;
}

/** A layer and the file of the hidden states before it. */
interface QueuedLayer {
  readonly layer: number;
  readonly states: string;
}

/**
 * Has workers train layers without a result, and stores the results where `transferLayer` finds them.
 * @throws LinnetError like `runJobs`; `MISMATCH` if a worker finds other weights or hidden states
 */
export async function trainLayersInQueue(
  student: Weighted,
  layers: readonly QueuedLayer[],
  folder: string,
  { queue, teacher, weights, settings, signal, onLayer }: QueuedLayersOptions,
): Promise<void> {
  let done = 0;
  const open: (QueuedLayer & { readonly identity: string })[] = [];
  for (const { layer, states } of layers) {
    const identity = await identityAt(student, layer, states, settings);
    const known = await storedLayer(folder, layer, identity);
    if (known === undefined) open.push({ layer, states, identity });
    else onLayer?.(++done, layers.length, known);
  }
  const jobs = open.map(({ layer, states, identity }) => ({
    kind: layerJobKind,
    title: `layer ${layer}`,
    data: {
      teacher: resolve(teacher),
      student: resolve(weights),
      states: resolve(states),
      layer,
      settings,
      identity,
    },
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

async function identityAt(student: Weighted, layer: number, path: string, settings: TrainingSettings): Promise<string> {
  await using states = await openHiddenFile(path);
  return layerIdentity(student, layer, states.identity, settings);
}

/** A layer's result as JSON. */
function transferJson({ steps, before, after, parameters }: LayerTransfer): z.infer<typeof resultSchema> {
  const encoded = [...parameters].map(([name, { data }]) => {
    return [name, Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')] as const;
  });
  return { steps, before, after, parameters: Object.fromEntries(encoded) };
}

/** The result from such JSON. @throws LinnetError `FORMAT` for a value that is not a result of this layer */
function transferOf(value: unknown, student: Weighted, layer: number): LayerTransfer {
  const parsed = resultSchema.safeParse(value);
  if (!parsed.success) throw strange(layer);
  const { parameters: given, ...numbers } = parsed.data;
  const declared = parametersOfMixers(student.model, [layer]);
  if (Object.keys(given).length !== declared.size) throw strange(layer);
  const parameters: WeightMap = new Map();
  for (const [name, { shape }] of declared) {
    const bytes = Buffer.from(Object.hasOwn(given, name) ? given[name] : '', 'base64');
    if (bytes.length !== 4 * elementCount(shape)) throw strange(layer);
    const data = new Float32Array(elementCount(shape));
    bytes.copy(new Uint8Array(data.buffer));
    if (data.some((number) => !Number.isFinite(number))) throw strange(layer);
    parameters.set(name, float32(shape, data));
  }
  return { layer, ...numbers, parameters };
}

function strange(layer: number): LinnetError {
  return new LinnetError('FORMAT', `the stored result for layer ${layer} does not fit the layer`);
}

/** Trains queued layers; reads only the layer's weights from both models. @param memory bytes; default: as `memoryLimit` */
export function layerJobHandler(compile: CompileOptions, memory?: number): JobHandler {
  return async (given, { signal, folder }) => {
    const data = validated(dataSchema, given, 'INPUT', 'the job is not a layer');
    const { layer, states, identity, settings } = data;
    await using teacher = await openReader(data.teacher);
    const { layers } = teacher.model.sizes;
    if (layer >= layers)
      throw new LinnetError('INPUT', `${data.teacher} has ${layers} layers; there is no layer ${layer}`);
    const student = await readConverted(data.student, teacher);
    if ((await identityAt(student, layer, states, settings)) !== identity) {
      throw new LinnetError(
        'MISMATCH',
        `${data.student} and ${states} hold other weights or hidden states here: share the run folder among all machines`,
      );
    }
    const { memoryBytes } = transferCost(teacher.model, student.model, [layer], { ...settings, rows: 0 });
    chooseForm(`layer ${layer}`, { layers: memoryBytes }, memory);
    const inputs = { teacher, student, states };
    return transferJson(await learnLayer(inputs, layer, join(folder, 'snapshots'), { settings, compile, signal }));
  };
}

/**
 * Looks up layers' results. Without a store it finds and keeps none.
 * @param options.origin the conversion's identity, steps included
 * @throws LinnetError like `openResults` and the store's `find`, `FORMAT` for a result of another layer
 */
export async function layersInStore(
  student: Weighted,
  layers: readonly number[],
  options: Pick<ConversionOptions, 'store' | 'share'> & { readonly origin: string; readonly stage: string },
) {
  const { store, share, origin, stage } = options;
  const results = store === undefined ? undefined : await openResults(store);
  // Named by the work, not by its initial weights: closed forms differ by rounding among processors.
  const jobOf = (layer: number): Job => ({
    kind: 'conversion-layer',
    data: { origin, stage, layer },
    title: `layer ${layer}`,
  });
  const known = new Map<number, LayerTransfer>();
  for (const layer of layers) {
    const found = await results?.find(jobOf(layer));
    if (found !== undefined) known.set(layer, transferOf(found, student, layer));
  }
  return {
    /** Results from others, or from an earlier run on this machine. */
    known,
    /** Layers without a result to train here. */
    open: layers.filter((layer, position) => !known.has(layer) && isInShare(position, share)),
    keep: async (result: LayerTransfer) => results?.keep(jobOf(result.layer), transferJson(result)),
  };
}
