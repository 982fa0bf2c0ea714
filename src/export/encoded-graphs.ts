/** An exported folder's graphs, encoded: nodes in memory, weights still to be read. */
import { sort } from 'd3-array';
import type { MedusaWeights } from '../checkpoint/medusa-files.ts';
import { longestSource, sourceLengths } from '../decoding/source-encoder.ts';
import { LinnetError } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import type { BlockSize } from '../graph/ops/quantized.ts';
import { bytesPerElement, elementCount, type Tensor } from '../graph/tensor.ts';
import { encoderGraph } from '../models/graphs/encoder-graph.ts';
import { foldGraph } from '../models/graphs/fold-graph.ts';
import { medusaGraph } from '../models/medusa/medusa-heads.ts';
import { medusaParameters } from '../models/medusa/medusa.ts';
import {
  type AutoregressiveModel,
  type CausalModel,
  decoderOf,
  type EncoderDecoderModel,
  type GeneratingModel,
} from '../models/model.ts';
import { foldGraphs, modelLayout } from '../models/graphs/model-layout.ts';
import { stepGraph } from '../models/graphs/step-graph.ts';
import type { WeightError } from '../quantization/encoding.ts';
import type { EncodingThreads } from '../quantization/encoding-threads.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import {
  type MemoryType,
  sharedTables,
  storedParameters,
  type StoredSourceOptions,
  type WeightType,
} from '../quantization/sources.ts';
import {
  dataFileOf,
  encoderFileOf,
  encoderLimits,
  exportedFiles,
  type ExportManifest,
  type StorageType,
  storageTypes,
  formsOfExport,
} from './manifest.ts';
import { encodeForDisk, type StoredModels } from './onnx-model.ts';
import type { ParameterSource } from '../nn/parameters.ts';

/** Source and target of encoded graphs. */
export interface EncodingOptions {
  readonly model: GeneratingModel;
  readonly weights: WeightReader;
  readonly dtype: StorageType;
  readonly block?: BlockSize;
  readonly device: ExportManifest['device'];
  /** The writer's version. */
  readonly producer: string;
  readonly threads?: EncodingThreads;
}

/** Receives every matrix's error when its numbers are made. */
export type OnWeightError = (name: string, error: WeightError) => void;

/** Graphs with their weights in one file next to them. */
export interface EncodedGraphs extends Omit<StoredModels, 'models'> {
  readonly graphs: readonly { readonly file: string; readonly bytes: Uint8Array }[];
  readonly dataFile: string;
  /** Bytes of all weights, wherever they lie. */
  readonly weightBytes: number;
}

/** The step graph, and the multi-token prediction layer's graph, which shares its table and head. */
export async function encodeStep(
  options: EncodingOptions,
  onError: OnWeightError,
  mtp?: CausalModel,
): Promise<EncodedGraphs & { readonly mtpBytes?: number }> {
  const { step } = storageTypes[options.dtype];
  const models = mtp === undefined ? [decoderOf(options.model)] : [decoderOf(options.model), mtp];
  const graphs = models.map((model) => stepGraphAs(step, model, options, onError));
  const { lowered, ...encoded } = await encodeTogether([exportedFiles.model, exportedFiles.mtp], graphs, options);
  const [weightBytes, mtpBytes] = lowered.map(weightBytesOf);
  return { ...encoded, weightBytes, mtpBytes };
}

/**
 * The step graph again, with the weights for reading prompts; undefined if those are the same, or an encoder reads prompts.
 * Reports no errors: decoding's weights count.
 */
export async function encodePrompt(options: EncodingOptions): Promise<EncodedGraphs | undefined> {
  const { prompt } = storageTypes[options.dtype];
  if (prompt === undefined || decoderOf(options.model).cross !== undefined) return undefined;
  return encodeAlone(exportedFiles.prompt, stepGraphAs(prompt, decoderOf(options.model), options), options);
}

function stepGraphAs(
  type: WeightType,
  decoder: AutoregressiveModel,
  options: EncodingOptions,
  onError?: OnWeightError,
): Graph {
  const makeSource = storedSource(decoder, options.weights, { ...options, dtype: type }, onError);
  return stepGraph(decoder, makeSource, modelLayout(decoder, formsOfExport(options)));
}

/**
 * Encoders, with the prompt weights if the type has them; undefined for a causal model.
 * @param asked lengths to encode for; default `sourceLengths`
 * @throws LinnetError `CONFIG` for lengths that the model cannot read, or any given for a causal model
 */
export async function encodeEncoder(
  options: EncodingOptions,
  asked: readonly number[] | undefined,
  onError: OnWeightError,
): Promise<(EncodedGraphs & { readonly lengths: readonly number[] }) | undefined> {
  const { model, dtype } = options;
  if (model.kind === 'causal') {
    if (asked === undefined) return undefined;
    throw new LinnetError('CONFIG', `a ${model.family} model has no encoder: leave out the lengths of source texts`);
  }
  const lengths = checkedLengths(model, asked ?? sourceLengths(model));
  const { step, prompt = step } = storageTypes[dtype];
  const makeSource = storedSource(model.decoder, options.weights, { ...options, dtype: prompt }, onError);
  const graphs = lengths.map((length) => encoderGraph(model, length, makeSource));
  const { lowered, ...encoded } = await encodeTogether(lengths.map(encoderFileOf), graphs, options);
  const weights = new Map(lowered.flatMap(({ deferred = [] }) => deferred.map((weight) => [weight.name, weight])));
  return { ...encoded, lengths, weightBytes: bytesOf(weights.values()) };
}

function checkedLengths(model: EncoderDecoderModel, lengths: readonly number[]): number[] {
  const longest = Math.min(longestSource(model), encoderLimits.length);
  const wrong = lengths.find((length) => !(Number.isInteger(length) && length >= 1 && length <= longest));
  if (wrong !== undefined) {
    throw new LinnetError('CONFIG', `an encoder over ${wrong} tokens is not possible; lengths are 1 to ${longest}`);
  }
  const rising = sort(new Set(lengths));
  if (rising.length >= 1 && rising.length <= encoderLimits.count) return rising;
  throw new LinnetError('CONFIG', `${rising.length} lengths of source texts, expected 1 to ${encoderLimits.count}`);
}

export interface EncodedHeads {
  readonly graph: EncodedGraphs;
  /** Parameters, in head order. */
  readonly names: readonly string[];
  readonly described: NonNullable<ExportManifest['medusa']>;
}

/** Medusa heads, stored like the step graph. */
export async function encodeHeads(
  medusa: Pick<MedusaWeights, 'config' | 'tree' | 'read'>,
  options: EncodingOptions,
  onError: OnWeightError,
): Promise<EncodedHeads> {
  const { config, tree } = medusa;
  const { sizes } = options.model;
  const type = storageTypes[options.dtype].step;
  const makeSource = storedSource(decoderOf(options.model), medusa, { ...options, dtype: type }, onError);
  const graph = await encodeAlone(exportedFiles.medusa, medusaGraph(config, sizes, makeSource), options);
  const { weightBytes } = graph;
  const names = [...medusaParameters(config, sizes).keys()];
  return { graph, names, described: { ...config, weightBytes, tree } };
}

/** Fold graphs, which contain their few weights. */
export async function encodeFolds(options: EncodingOptions) {
  const { device, producer: producerVersion } = options;
  const decoder = decoderOf(options.model);
  const layout = modelLayout(decoder, formsOfExport(options));
  const makeSource = storedSource(decoder, options.weights, { ...options, dtype: storageTypes[options.dtype].step });
  const folds: { readonly name: string; readonly file: string; readonly bytes: Uint8Array }[] = [];
  for (const { name, layer } of foldGraphs(layout)) {
    const lowered = lowerGraph(foldGraph(decoder, layer, makeSource, layout), device);
    const file = `fold-${folds.length}.onnx`;
    const stored = { dataFile: dataFileOf(file), producerVersion, load: true };
    const [bytes] = (await encodeForDisk([lowered], stored)).models;
    folds.push({ name, file, bytes });
  }
  return folds;
}

/** A graph with its own weights file. */
async function encodeAlone(file: string, graph: Graph, options: EncodingOptions): Promise<EncodedGraphs> {
  const { lowered, ...encoded } = await encodeTogether([file], [graph], options);
  return { ...encoded, weightBytes: weightBytesOf(lowered[0]) };
}

/** Graphs that share the first one's weights file. @param files for the graphs, at least as many */
async function encodeTogether(
  files: readonly string[],
  graphs: readonly Graph[],
  { device, producer: producerVersion }: EncodingOptions,
) {
  const dataFile = dataFileOf(files[0]);
  const lowered = graphs.map((graph) => lowerGraph(graph, device));
  const { models, ...stored } = await encodeForDisk(lowered, { dataFile, inlineBytes: 0, producerVersion });
  return { ...stored, lowered, dataFile, graphs: models.map((bytes, i) => ({ file: files[i], bytes })) };
}

function weightBytesOf({ initializers, deferred = [] }: ReturnType<typeof lowerGraph>): number {
  return bytesOf([...initializers, ...deferred]);
}

function bytesOf(tensors: Iterable<{ readonly tensor: Pick<Tensor, 'dtype' | 'shape'> }>): number {
  let sum = 0;
  for (const { tensor } of tensors) sum += elementCount(tensor.shape) * bytesPerElement[tensor.dtype];
  return sum;
}

/**
 * Makes sources of a model's parameters as an export stores them, for any of the model's graphs.
 * @param model the generating model: the decoder of an encoder-decoder model
 * @param stored.dtype the graph's: one of two in a folder with two sets of weights
 * @param onError see `StoredSourceOptions`
 */
export function storedSource(
  model: AutoregressiveModel,
  weights: WeightReader,
  stored: { readonly dtype: MemoryType } & Pick<ExportManifest, 'block' | 'device'> & Pick<EncodingOptions, 'threads'>,
  onError?: StoredSourceOptions['onError'],
): (graph: Graph) => ParameterSource {
  const options: StoredSourceOptions = {
    sharedTables: sharedTables((makeSource) => stepGraph(model, makeSource)),
    halfProducts: stored.device === 'webgpu',
    block: stored.block,
    threads: stored.threads,
    onError,
  };
  return (graph) => storedParameters(stored.dtype, graph, weights, options);
}
