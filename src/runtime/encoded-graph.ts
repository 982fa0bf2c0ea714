/** A graph as the engine takes it: lowered for a device and encoded as ONNX. Also runs in browsers. */
import { LinnetError } from '../errors.ts';
import { valueBytes } from '../graph/cost.ts';
import { type Graph, liveNodes, type ValueType } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import type { Device, OnnxGraph, OnnxValue } from '../graph/onnx/model.ts';
import { encodeModel, loadDeferred, mapInitializers, separateParts } from '../graph/onnx/writer.ts';
import { byteLengthOf } from '../graph/tensor.ts';
import type { EngineModel, ModelInMemory } from './session-types.ts';

/** A graph that was lowered and encoded earlier. */
export interface StoredGraph {
  readonly model: EngineModel;
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** ONNX nodes. */
  readonly nodes: number;
  /** Bytes of the model including its weights. */
  readonly modelBytes: number;
  /** See `weightBytesOf`; undefined for a graph in a file. */
  readonly weightBytes?: number;
}

/** A graph encoded here, in memory. */
export interface EncodedGraph {
  readonly stored: StoredGraph & { readonly model: ModelInMemory };
  /** Declared inputs that no output depends on. */
  readonly unused: ReadonlySet<string>;
}

/** ONNX's limit for a tensor in a model, and for a model without tensors in files. */
const mostTensorBytes = 2 ** 31 - 1;

/**
 * Lowers a graph's live part and encodes it with its weights; weights in files stay there, except for browsers.
 * @param store puts deferred weights into files. Default: makes them in memory
 * @throws LinnetError `GRAPH` if the graph cannot be lowered, or has a constant or weight of 2 GiB or more; `MISMATCH` if a
 *   weights file has changed
 */
export async function encodeGraph(
  graph: Graph,
  device: Device,
  store: (graph: OnnxGraph) => Promise<OnnxGraph> = (lowered) => Promise.resolve(lowered),
): Promise<EncodedGraph> {
  const lowered = lowerGraph(graph, device);
  for (const { name, tensor } of [...lowered.initializers, ...(lowered.deferred ?? [])]) {
    const bytes = byteLengthOf(tensor);
    if (bytes > mostTensorBytes) throw tooLarge(graph, name, bytes);
  }
  const { mapped = [], ...rest } = device === 'wasm' ? lowered : withMapped(await store(lowered));
  const loaded = { ...(await loadDeferred(rest)), mapped };
  const files = new Map(mapped.map(({ place }) => [place.file, place]));
  for (const place of files.values()) await place.unchanged();
  const { bytes, external } = encodeModel(loaded, mapped.length > 0 ? {} : { placement: separateParts });
  const live = typesByName(lowered.inputs);
  const stored = {
    model: { name: graph.name, bytes, external, folder: mapped.at(0)?.place.folder },
    inputs: live,
    outputs: typesByName(lowered.outputs),
    nodes: lowered.nodes.length,
    weightBytes: weightBytesOf(graph),
    modelBytes: bytes.byteLength + sum(external.map(({ data }) => data.byteLength)) + sum(mapped.map(mappedLength)),
  };
  return { stored, unused: new Set([...graph.inputs.keys()].filter((name) => !live.has(name))) };
}

/** The engine takes all large weights from files, or all from memory; weights inside the model are copied once more. */
function withMapped(lowered: OnnxGraph): OnnxGraph {
  const graph = mapInitializers(lowered);
  const inModel = [...graph.initializers, ...(graph.deferred ?? [])].map(({ tensor }) => tensor);
  const most = Math.min(sum((graph.mapped ?? []).map(mappedLength)) / 2, mostTensorBytes);
  return sum(inModel.map(byteLengthOf)) < most ? graph : lowered;
}

/** Bytes of weights that a run reads: all weights except lookup tables. */
export function weightBytesOf(graph: Graph): number {
  const readers = liveNodes(graph.outputs.values()).filter(({ op }) => op !== 'gather' && op !== 'blockGather');
  const weights = new Set(readers.flatMap(({ inputs }) => inputs.filter(({ origin }) => origin.kind === 'weight')));
  return sum([...weights].map(valueBytes));
}

function mappedLength({ shape, place }: NonNullable<OnnxGraph['mapped']>[number]): number {
  return byteLengthOf({ shape, dtype: place.dtype });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function tooLarge({ name: graph, weights }: Graph, name: string, bytes: number): LinnetError {
  const what = weights.has(name) ? `the weight "${name}"` : 'a constant, which grows with the length of its rows,';
  return new LinnetError(
    'GRAPH',
    `graph "${graph}": ${what} has ${bytes} bytes, and a model holds tensors of at most ${mostTensorBytes}; use shorter or fewer rows`,
  );
}

function typesByName(values: readonly OnnxValue[]): ReadonlyMap<string, ValueType> {
  return new Map(values.map(({ name, dtype, shape }) => [name, { dtype, shape }]));
}
