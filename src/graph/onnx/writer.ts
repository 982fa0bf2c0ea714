/** Encodes an ONNX graph as the bytes of a model, with large tensors inside or beside them. */
import { create, toBinary } from '@bufbuild/protobuf';
import { internalError } from '../../errors.ts';
import type { DType } from '../tensor.ts';
import { tensorBytes } from '../tensor-bytes.ts';
import type { OnnxAttribute, OnnxGraph, OnnxNode, OnnxValue } from './model.ts';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './onnx_pb.ts';

/** Opset 23 is the first with RMSNormalization and RotaryEmbedding; its IR version is 11 (ONNX 1.18). */
const irVersion = 11n;
const operatorSets = [
  { domain: '', version: 23n },
  { domain: 'com.microsoft', version: 1n },
];

const dataTypes: Readonly<Record<DType, TensorProto_DataType>> = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  float16: TensorProto_DataType.FLOAT16,
  int64: TensorProto_DataType.INT64,
  int32: TensorProto_DataType.INT32,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
  bool: TensorProto_DataType.BOOL,
};

/** Where an initializer goes: a place in a file beside the model, or undefined for the model itself. */
export type Placer = (byteLength: number) => { readonly path: string; readonly offset: number } | undefined;

/** How the initializers of a model are placed: see `inline`, `oneFile` and `separateParts`. */
export type Placement = (graph: OnnxGraph) => Placer;

/** Bytes that belong at an offset of a file beside the model. The data is a view of the tensor's. */
export interface ExternalPart {
  readonly path: string;
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface EncodedModel {
  /** A serialized ModelProto. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What belongs beside it; in one file by rising offsets, without overlaps. */
  readonly external: readonly ExternalPart[];
}

export interface EncodeOptions {
  /** Default: `inline`. */
  readonly placement?: Placement;
  /** Written as `producer_version`. Default: left out. */
  readonly producerVersion?: string;
}

/** Smaller initializers stay in the model: shape inference and constant folding read them. */
const externalMinimumBytes = 1024;
/** Large tensors start at page boundaries, which memory mapping wants; smaller ones at cache lines. */
const pageBytes = 4096;
const cacheLineBytes = 64;
const largeBytes = 65536;

/** All initializers in the model. Above 2 GB nobody can read the result. */
export const inline: Placement = () => () => undefined;

/**
 * Initializers of 1 KB and more get a path each. For engines that take the parts from memory: the numbers are not
 * copied, and the 2 GB limit of a model does not concern them.
 */
export const separateParts: Placement = () => {
  let index = 0;
  return (byteLength) => (byteLength < externalMinimumBytes ? undefined : { path: `part-${index++}`, offset: 0 });
};

/**
 * Initializers of 1 KB and more go into one file beside the model, aligned for memory mapping, if all initializers
 * together exceed `inlineBytes`; else they stay in the model.
 */
export function oneFile(path: string, inlineBytes: number): Placement {
  return (graph) => {
    let total = 0;
    for (const { tensor } of graph.initializers) total += tensor.data.byteLength;
    if (total <= inlineBytes) return inline(graph);
    let end = 0;
    return (byteLength) => {
      if (byteLength < externalMinimumBytes) return undefined;
      const alignment = byteLength < largeBytes ? cacheLineBytes : pageBytes;
      const offset = Math.ceil(end / alignment) * alignment;
      end = offset + byteLength;
      return { path, offset };
    };
  };
}

/** Encodes a graph. Named dimensions become `dim_param`; nodes are named after their op and first output. */
export function encodeModel(graph: OnnxGraph, options: EncodeOptions = {}): EncodedModel {
  const place = (options.placement ?? inline)(graph);
  const external: ExternalPart[] = [];
  const initializer = graph.initializers.map(({ name, tensor }) => {
    const data = tensorBytes(tensor);
    const head = { name, dataType: dataTypes[tensor.dtype], dims: tensor.shape.map(BigInt) };
    const location = place(data.byteLength);
    if (location === undefined) return create(TensorProtoSchema, { ...head, rawData: data });
    external.push({ ...location, data });
    return create(TensorProtoSchema, {
      ...head,
      dataLocation: TensorProto_DataLocation.EXTERNAL,
      externalData: [
        create(StringStringEntryProtoSchema, { key: 'location', value: location.path }),
        create(StringStringEntryProtoSchema, { key: 'offset', value: String(location.offset) }),
        create(StringStringEntryProtoSchema, { key: 'length', value: String(data.byteLength) }),
      ],
    });
  });
  const model = create(ModelProtoSchema, {
    irVersion,
    opsetImport: operatorSets.map((set) => create(OperatorSetIdProtoSchema, set)),
    producerName: 'linnet',
    producerVersion: options.producerVersion,
    graph: create(GraphProtoSchema, {
      name: graph.name,
      input: graph.inputs.map(encodeValue),
      output: graph.outputs.map(encodeValue),
      node: graph.nodes.map(encodeNode),
      initializer,
    }),
  });
  return { bytes: toBinary(ModelProtoSchema, model), external };
}

function encodeValue({ name, dtype, shape }: OnnxValue): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === 'number' ? { case: 'dimValue', value: BigInt(size) } : { case: 'dimParam', value: size },
    }),
  );
  const tensorType = create(TypeProto_TensorSchema, {
    elemType: dataTypes[dtype],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: 'tensorType', value: tensorType } }),
  });
}

function encodeNode(node: OnnxNode): NodeProto {
  return create(NodeProtoSchema, {
    name: `${node.opType}/${node.outputs.find((output) => output !== '') ?? ''}`,
    opType: node.opType,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: Object.entries(node.attributes).map(([name, value]) => encodeAttribute(node.opType, name, value)),
  });
}

function encodeAttribute(opType: string, name: string, attribute: OnnxAttribute): AttributeProto {
  const integer = (value: number): bigint => {
    if (!Number.isSafeInteger(value)) throw internalError(`${opType}: attribute ${name} is ${value}, not an integer`);
    return BigInt(value);
  };
  const type = AttributeProto_AttributeType;
  if ('int' in attribute) return create(AttributeProtoSchema, { name, type: type.INT, i: integer(attribute.int) });
  if ('float' in attribute) return create(AttributeProtoSchema, { name, type: type.FLOAT, f: attribute.float });
  if ('ints' in attribute) {
    return create(AttributeProtoSchema, { name, type: type.INTS, ints: attribute.ints.map(integer) });
  }
  if ('floats' in attribute) {
    return create(AttributeProtoSchema, { name, type: type.FLOATS, floats: [...attribute.floats] });
  }
  return create(AttributeProtoSchema, { name, type: type.STRING, s: new TextEncoder().encode(attribute.string) });
}
