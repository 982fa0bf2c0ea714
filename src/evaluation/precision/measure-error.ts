/**
 * The outputs of an exported folder, and of every layer of it, against the float32 model it was made from. The measured
 * graph is the step graph, which decodes; a folder can have other weights for prompts.
 */
import { freemem } from 'node:os';
import type { ModelWeights } from '../../checkpoint/load-model.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { compareLayers, layerBytes } from './layer-error.ts';
import { compareOutputs } from './output-error.ts';
import type { EvaluateOptions } from '../perplexity/perplexity.ts';
import type { EvaluationData } from '../perplexity/scored-windows.ts';
import { requireGenerating } from '../../models/families/index.ts';
import { decoderOf, type ModelDescription } from '../../models/model.ts';
import { isDeviceAvailable } from '../../runtime/availability.ts';
import { type ExportManifest, type MeasuredErrors, storageTypes } from '../../export/manifest.ts';
import { readExportedFolder } from '../../open/folder-files.ts';
import { storedSource } from '../../export/encoded-graphs.ts';
import type { Graph } from '../../graph/graph.ts';
import { parameterCount, type ParameterSource } from '../../nn/parameters.ts';
import { storedParameters } from '../../quantization/sources.ts';
import { openGenerating } from '../../open/running-model.ts';

/** Text that errors are measured on. */
export interface ReportText {
  /** Description of the text, for the report. */
  readonly name: string;
  /** The text, or a function that makes it with the float32 model. */
  readonly data: EvaluationData | ((engine: StepEngine) => Promise<EvaluationData>);
}

export interface MeasureOptions extends EvaluateOptions {
  readonly threads?: number;
  /** Default: the free memory that the system reports. */
  readonly freeBytes?: number;
}

/** Copies of the float32 weights in the engine, which maps their file: those it packs, and a table that is a head as well. */
const copies = 2;

/** Bytes that comparing with a model in float32 takes, which is compiled once for the outputs and once for the layers. */
export function comparisonBytes({ parameters, sizes }: Pick<ModelDescription, 'parameters' | 'sizes'>): number {
  return 4 * copies * parameterCount(parameters) + layerBytes(sizes);
}

/**
 * Compares a folder with the model it was made from. Where the model does not fit into memory, the device is absent or
 * numbers are not finite, the result is a note that says so.
 *
 * @param weights the model, whose parameters are read again, one by one
 * @throws LinnetError as `openGenerating`, `compareOutputs` and `compareLayers`
 */
export async function measureError(
  folder: string,
  weights: ComparedWeights,
  text: ReportText,
  options: MeasureOptions = {},
): Promise<MeasuredErrors> {
  const { freeBytes = freemem() } = options;
  const needed = comparisonBytes(weights.model);
  if (needed > freeBytes) {
    const gigabytes = (count: number): string => `${(count / 1e9).toFixed(1)} GB`;
    return notCompared(`float32 needs ${gigabytes(needed)} of memory, ${gigabytes(freeBytes)} are free`);
  }
  const { manifest } = await readExportedFolder(folder);
  if (!(await isDeviceAvailable(manifest.device))) {
    return notCompared(`the device ${manifest.device} is not available here`);
  }
  // One after the other: what either holds is gone before the next begins.
  const { data, ...outputs } = await measureOutputs(folder, weights, text, options);
  if (data.windows.length === 0) return notCompared(`${text.name} has no token to predict`);
  const layers = await measureLayers(manifest, weights, data, options);
  const notes = [outputs.note, layers.note].filter((note) => note !== undefined);
  return { ...outputs, ...layers, note: notes.length === 0 ? undefined : notes.join('; ') };
}

type ComparedWeights = Pick<ModelWeights, 'model' | 'read' | 'place'>;

/** The report of an export whose outputs and layers were not compared, and why. */
export function notCompared(reason: string): MeasuredErrors {
  return { note: `outputs and layers were not compared: ${reason}` };
}

async function measureOutputs(
  folder: string,
  weights: ComparedWeights,
  text: ReportText,
  { threads, onProgress, signal }: MeasureOptions,
): Promise<Pick<MeasuredErrors, 'outputs' | 'note'> & { readonly data: EvaluationData }> {
  await using exported = await openGenerating(folder, { threads });
  const model = requireGenerating(weights.model);
  await using engine = await DecodingEngine.compile(model, float32Source(weights), { threads });
  const data = typeof text.data === 'function' ? await text.data(engine) : text.data;
  if (data.windows.length === 0) return { data };
  const compared = await compareOutputs(engine, exported.engine, data, { onProgress, signal });
  const { perplexity, ...found } = compared;
  // JSON has no spelling for them.
  if (![found.maxLogit, perplexity.reference, perplexity.other].every(Number.isFinite)) {
    return { data, note: 'outputs were not compared: they are not finite' };
  }
  return {
    data,
    outputs: {
      text: text.name,
      ...found,
      perplexity: { float32: perplexity.reference, exported: perplexity.other },
    },
  };
}

function float32Source(weights: ComparedWeights): (graph: Graph) => ParameterSource {
  return (graph) => storedParameters('f32', graph, weights);
}

/** The graph of the folder tells no layer's output: the layers are compiled from the same weights, stored the same way. */
async function measureLayers(
  manifest: ExportManifest,
  weights: ComparedWeights,
  data: EvaluationData,
  { threads, signal }: MeasureOptions,
): Promise<Pick<MeasuredErrors, 'layers' | 'layerTokens' | 'note'>> {
  const model = requireGenerating(weights.model);
  const decoder = decoderOf(model);
  const exact = { makeSource: float32Source(weights), threads };
  const { device, block } = manifest;
  const { step } = storageTypes[manifest.dtype]; // what decoding uses
  const stored = { makeSource: storedSource(decoder, weights, { dtype: step, block, device }), device, threads };
  const { layers, tokens } = await compareLayers(model, exact, stored, data, { signal });
  const wrong = layers.findIndex(({ max, activationRms }) => !Number.isFinite(max) || !Number.isFinite(activationRms));
  if (wrong >= 0) return { note: `layers were not compared: they are not finite from layer ${wrong} on` };
  return { layers: [...layers], layerTokens: tokens };
}
