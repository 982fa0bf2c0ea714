/** Encodes an ONNX graph as a model's bytes, with large tensors inside or next to it. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { internalError } from '../../errors.ts';
import { byteLengthOf, type Tensor, tensorBytes, type TensorType } from '../tensor.ts';
import { elementTypes, type OnnxAttribute, type OnnxGraph, type OnnxNode, type OnnxValue } from './model.ts';
import {
  AttributeProto_AttributeType,
  type AttributeProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from './onnx_pb.ts';

/** Opset 23 is the first with RMSNormalization and RotaryEmbedding; its IR version is 11 (ONNX 1.18). */
const irVersion = 11n;
export const operatorSets = [
  { domain: '', version: 23n },
  { domain: 'com.microsoft', version: 1n },
];

/** A place in a file next to a model. */
interface Place {
  readonly path: string;
  readonly offset: number;
}

/** Places an initializer: in a file next to the model, or undefined for the model itself. */
export type Placer = (byteLength: number, name: string) => Place | undefined;

/** Places a model's initializers: see `inline`, `oneFile`, `sharedFile` and `separateParts`. */
export type Placement = (graph: OnnxGraph) => Placer;

/** Bytes for an offset in a file next to the model. The data is a view of the tensor's. */
export interface ExternalPart {
  readonly path: string;
  readonly offset: number;
  readonly data: Uint8Array;
}

/** A part whose bytes do not exist yet. */
export interface DeferredPart {
  readonly path: string;
  readonly offset: number;
  readonly byteLength: number;
  load(): Promise<Tensor>;
}

export interface EncodedModel {
  /** A serialized ModelProto. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Contents of the external files; within a file by rising offsets, without overlaps. */
  readonly external: readonly ExternalPart[];
  /** Like `external`, for deferred initializers; within a file they follow the others. */
  readonly deferred: readonly DeferredPart[];
}

export interface EncodeModelOptions {
  /** Default: `inline`. */
  readonly placement?: Placement;
  /** Written as `producer_version`. Default: omitted. */
  readonly producerVersion?: string;
}

/** Smaller initializers stay in the model: shape inference and constant folding read them. */
export const externalMinimumBytes = 1024;
/** Large tensors start at page boundaries, for memory mapping; smaller ones at cache lines. */
const pageBytes = 4096;
const cacheLineBytes = 64;
const largeBytes = 65536;

/** All initializers in the model. Nothing can read a result above 2 GB. */
const inline: Placement = () => () => undefined;

/** A separate path per initializer of 1 KB or more, for engines that take them from memory: no copies and no 2 GB limit. */
export const separateParts: Placement = () => {
  let index = 0;
  return (byteLength) => (byteLength < externalMinimumBytes ? undefined : { path: `part-${index++}`, offset: 0 });
};

/**
 * Puts initializers of 1 KB or more into one file next to the model, aligned for memory mapping, if all initializers
 * together exceed `inlineBytes`; else they stay in the model.
 */
export function oneFile(path: string, inlineBytes: number): Placement {
  return (graph) => {
    let total = 0;
    for (const { tensor } of [...graph.initializers, ...(graph.deferred ?? [])]) total += byteLengthOf(tensor);
    if (total <= inlineBytes) return inline(graph);
    const append = appending(path);
    return (byteLength) => (byteLength < externalMinimumBytes ? undefined : append(byteLength));
  };
}

/**
 * Puts several graphs' deferred initializers into one file, equal names once; all other initializers stay in the models.
 * @param graphs all graphs that refer to the file; initializers with equal names hold the same numbers
 */
export function sharedFile(path: string, graphs: readonly OnnxGraph[]): Placement {
  const places = new Map<string, Place>();
  const append = appending(path);
  for (const { name, tensor } of graphs.flatMap(({ deferred = [] }) => deferred)) {
    if (!places.has(name)) places.set(name, append(byteLengthOf(tensor)));
  }
  return ({ deferred = [] }) => {
    const names = new Set(deferred.map(({ name }) => name)); // constants of other graphs may share their names
    return (_, name) => (names.has(name) ? places.get(name) : undefined);
  };
}

/** Appends places, aligned for memory mapping. */
function appending(path: string): (byteLength: number) => Place {
  let end = 0;
  return (byteLength) => {
    const alignment = byteLength < largeBytes ? cacheLineBytes : pageBytes;
    const offset = Math.ceil(end / alignment) * alignment;
    end = offset + byteLength;
    return { path, offset };
  };
}

/**
 * Makes the elements of deferred initializers with fewer than `below` bytes, by default of all. Those that a placement
 * leaves in the model need theirs before encoding.
 */
export async function loadDeferred(graph: OnnxGraph, below = Number.POSITIVE_INFINITY): Promise<OnnxGraph> {
  const { initializers, deferred = [] } = graph;
  const loaded: { name: string; tensor: Tensor }[] = [];
  for (const { name, tensor } of deferred) {
    if (byteLengthOf(tensor) < below) loaded.push({ name, tensor: await tensor.load() });
  }
  return {
    ...graph,
    initializers: [...initializers, ...loaded],
    deferred: deferred.filter(({ tensor }) => byteLengthOf(tensor) >= below),
  };
}

/**
 * Leaves deferred initializers that lie in one folder in their files. If their type differs, a node converts them, which an
 * engine runs once, when it opens the model.
 */
export function mapInitializers(graph: OnnxGraph): OnnxGraph {
  const { deferred = [] } = graph;
  const folder = deferred.find(({ tensor }) => tensor.place !== undefined)?.tensor.place?.folder;
  const mapped: NonNullable<OnnxGraph['mapped']>[number][] = [];
  const conversions: OnnxNode[] = [];
  const rest: (typeof deferred)[number][] = [];
  for (const initializer of deferred) {
    const { name, tensor } = initializer;
    const { dtype, shape, place } = tensor;
    if (place === undefined || place.folder !== folder) {
      rest.push(initializer);
      continue;
    }
    const stored = place.dtype === dtype ? name : `${name}/${place.dtype}`;
    mapped.push({ name: stored, shape, place });
    if (stored === name) continue;
    const attributes = { to: { int: elementTypes[dtype] } };
    conversions.push({ opType: 'Cast', domain: '', inputs: [stored], outputs: [name], attributes });
  }
  return { ...graph, deferred: rest, mapped, nodes: [...conversions, ...graph.nodes] };
}

/**
 * Encodes a graph. Named dimensions become `dim_param`; nodes are named after their op and first output.
 * @throws LinnetError `INTERNAL` if a deferred initializer is placed in the model
 */
export function encodeModel(graph: OnnxGraph, options: EncodeModelOptions = {}): EncodedModel {
  const place = (options.placement ?? inline)(graph);
  const external: ExternalPart[] = [];
  const deferred: DeferredPart[] = [];
  const initializer = graph.initializers.map(({ name, tensor }): EncodedTensor => {
    const data = tensorBytes(tensor);
    const location = place(data.byteLength, name);
    if (location === undefined) return { ...tensorHead(name, tensor), rawData: data };
    external.push({ ...location, data });
    return externalTensor(name, tensor, location);
  });
  for (const { name, tensor } of graph.deferred ?? []) {
    const location = place(byteLengthOf(tensor), name);
    if (location === undefined) throw internalError(`initializer "${name}" has no elements yet; load it first`);
    deferred.push({ ...location, byteLength: byteLengthOf(tensor), load: () => tensor.load() });
    initializer.push(externalTensor(name, tensor, location));
  }
  for (const { name, shape, place } of graph.mapped ?? []) {
    initializer.push(externalTensor(name, { dtype: place.dtype, shape }, { path: place.file, offset: place.offset }));
  }
  const model = create(ModelProtoSchema, {
    irVersion,
    opsetImport: operatorSets,
    producerName: 'linnet',
    producerVersion: options.producerVersion,
    graph: {
      name: graph.name,
      input: graph.inputs.map(encodeValue),
      output: graph.outputs.map(encodeValue),
      node: graph.nodes.map(encodeNode),
      initializer,
    },
  });
  return { bytes: toBinary(ModelProtoSchema, model), external, deferred };
}

type EncodedTensor = MessageInitShape<typeof TensorProtoSchema>;

function tensorHead(name: string, { dtype, shape }: TensorType) {
  return { name, dataType: elementTypes[dtype], dims: shape.map(BigInt) };
}

function externalTensor(name: string, type: TensorType, place: Place): EncodedTensor {
  const entries = { location: place.path, offset: String(place.offset), length: String(byteLengthOf(type)) };
  return {
    ...tensorHead(name, type),
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
  };
}

function encodeValue({ name, dtype, shape }: OnnxValue): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = shape.map((size) => ({
    value:
      typeof size === 'number'
        ? { case: 'dimValue' as const, value: BigInt(size) }
        : { case: 'dimParam' as const, value: size },
  }));
  return { name, type: { value: { case: 'tensorType', value: { elemType: elementTypes[dtype], shape: { dim } } } } };
}

function encodeNode(node: OnnxNode): MessageInitShape<typeof NodeProtoSchema> {
  return {
    name: `${node.opType}/${node.outputs.find((output) => output !== '') ?? ''}`,
    opType: node.opType,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: Object.entries(node.attributes).map(([name, value]) => ({
      name,
      ...encodeAttribute(node.opType, name, value),
    })),
  };
}

function encodeAttribute(
  opType: string,
  name: string,
  attribute: OnnxAttribute,
): MessageInitShape<typeof AttributeProtoSchema> {
  const integer = (value: number): bigint => {
    if (!Number.isSafeInteger(value)) throw internalError(`${opType}: attribute ${name} is ${value}, not an integer`);
    return BigInt(value);
  };
  const { INT, FLOAT, INTS, FLOATS, STRING } = AttributeProto_AttributeType;
  if ('int' in attribute) return { type: INT, i: integer(attribute.int) };
  if ('float' in attribute) return { type: FLOAT, f: attribute.float };
  if ('ints' in attribute) return { type: INTS, ints: attribute.ints.map(integer) };
  if ('floats' in attribute) return { type: FLOATS, floats: [...attribute.floats] };
  return { type: STRING, s: new TextEncoder().encode(attribute.string) };
}
