/** Attention transfer of all layers in order, each on the hidden states before it. */
import type { CausalModel } from '../models/model.ts';
import { parseTrainingSettings, type TrainingSettings } from '../training/settings.ts';
import { fitStep, processBytes, runsLean, timesKept } from '../training/step-cost.ts';
import type { UpdateEvent } from '../training/trainer.ts';
import { passCost } from './hidden-states.ts';
import type { LayerStates } from './layer-states.ts';
import {
  type LayerInputs,
  type LayerTrainingOptions,
  type LayerTransfer,
  layerIdentity,
  layerJob,
  storedLayer,
  transferLayer,
} from './layer-transfer.ts';

/** Options of `transferLayers`. */
interface TransferLayersOptions extends Omit<LayerTrainingOptions, 'onStart' | 'onUpdate'> {
  /** Awaited before a layer without a result, with the number of layers before it and of its steps already done. */
  readonly onStart?: (layers: number, update: number) => Promise<void>;
  /** Called after every optimizer step, with the steps done in all layers together. */
  readonly onUpdate?: (done: number, event: UpdateEvent) => void;
  /** Awaited with every result, before the next layer. */
  readonly onResult?: (result: LayerTransfer) => Promise<void>;
}

/**
 * Trains layers; reads results already in the folder, without computing the hidden states before them.
 * @throws LinnetError like `transferLayer`
 */
export async function transferLayers(
  { teacher, student }: Omit<LayerInputs, 'states'>,
  layers: readonly number[],
  states: LayerStates,
  folder: string,
  { onStart, onUpdate, onResult, ...options }: TransferLayersOptions,
): Promise<LayerTransfer[]> {
  const results: LayerTransfer[] = [];
  for (const [index, layer] of layers.entries()) {
    const identity = layerIdentity(student, layer, states.identity(layer), options.settings);
    const result =
      (await storedLayer(folder, layer, identity)) ??
      (await transferLayer({ teacher, student, states: await states.before(layer) }, layer, folder, {
        ...options,
        onStart: async (update) => await onStart?.(index, update),
        onUpdate: (event) => onUpdate?.(index * event.total + event.update, event),
      }));
    states.learned(layer, result.parameters);
    await onResult?.(result);
    results.push(result);
  }
  return results;
}

/** A transfer's memory, disk and operations. */
export type TransferCost = ReturnType<typeof transferCost>;

/**
 * A transfer's cost, from the graphs that will run.
 * @param limit memory that a micro-batch must fit, unless one is given. Default: none
 */
export function transferCost(
  teacher: CausalModel,
  student: CausalModel,
  layers: readonly number[],
  {
    rows,
    length,
    batch,
    microBatch,
  }: Pick<TrainingSettings, 'length' | 'batch' | 'microBatch'> & { readonly rows: number },
  limit = Infinity,
) {
  const settings = parseTrainingSettings({ steps: 1, batch, length, microBatch });
  const passed = Math.max(...layers);
  const pass = passCost(teacher, 0, length);
  const lean = runsLean(teacher.parameters);
  // The engine keeps a result's memory for a later one of its size: a layer of a 7B takes twice its live results.
  const job = layerJob(teacher, student, layers[0], length);
  const { cost: step } = fitStep({ ...job, settings, parameters: new Map(), lean: false }, limit);
  const table = 4 * teacher.sizes.vocabulary * teacher.sizes.width;
  // Halves are read and widened by the engine; hidden states are equally large before and after the layer, and leave it as a
  // copy.
  const states = pass.outputBytes;
  const passBytes = processBytes + 1.5 * (pass.inputBytes - states) + timesKept(lean) * pass.peakBytes + 2 * states;
  return {
    /** Without the weights of models that are in memory anyway. */
    memoryBytes: Math.max(passBytes, step.bytes, processBytes + table),
    diskBytes: 2 * 4 * rows * length * teacher.sizes.width,
    /** Passing hidden states through all layers once. */
    passOperations: (pass.operations * passed * rows) / pass.rows,
    /** An optimizer step in every trained layer. */
    stepOperations: step.operations * layers.length,
    /** Rows per micro-batch: as given, the default, or the most that fit if it does not. */
    microBatch: step.microBatch,
  };
}
