/** Reads ONNX models that the writer wrote: types of inputs and outputs, and places of weights. */
import { fromBinary } from '@bufbuild/protobuf';
import { LinnetError } from '../../errors.ts';
import type { ValueType } from '../graph.ts';
import { type DType, type Dim, isDType } from '../tensor.ts';
import { elementTypes } from './model.ts';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  type ValueInfoProto,
} from './onnx_pb.ts';
import { operatorSets } from './writer.ts';

/** Metadata, inputs and outputs of a model. */
export interface OnnxSummary {
  readonly name: string;
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** Number of nodes. */
  readonly nodes: number;
  /** Weights stored next to the model. */
  readonly external: readonly { readonly path: string; readonly offset: number; readonly length: number }[];
}

/**
 * Reads a model that `encodeModel` wrote: no graphs or tensors inside nodes, no functions, no foreign operators. The engine
 * checks whether the nodes fit together.
 *
 * @param source names it in errors
 * @throws LinnetError `FORMAT` for anything else
 */
export function readOnnxSummary(bytes: Uint8Array, source: string): OnnxSummary {
  const refuse = (reason: string): never => {
    throw new LinnetError('FORMAT', `${source} ${reason}`);
  };
  let model: ModelProto;
  try {
    model = fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${source} is not an ONNX model`, { cause });
  }
  const graph: GraphProto = model.graph ?? refuse('holds no graph');
  if (model.functions.length > 0 || model.trainingInfo.length > 0 || graph.sparseInitializer.length > 0) {
    refuse('holds functions, training graphs or sparse weights, which exported models never do');
  }
  const domains: readonly string[] = operatorSets.map(({ domain }) => domain);
  for (const { name, domain, attribute } of graph.node) {
    if (!domains.includes(domain)) refuse(`uses operators of "${domain}" in node "${name}"`);
    if (!attribute.every(isPlain)) refuse(`holds a graph or a tensor in node "${name}"`);
  }
  const typed = (values: readonly ValueInfoProto[]): Map<string, ValueType> =>
    new Map(values.map((value) => [value.name, valueType(value) ?? refuse(`has a value "${value.name}" of no type`)]));
  return {
    name: graph.name,
    inputs: typed(graph.input),
    outputs: typed(graph.output),
    nodes: graph.node.length,
    external: graph.initializer
      .filter(({ dataLocation }) => dataLocation === TensorProto_DataLocation.EXTERNAL)
      .map((weight) => placeOf(weight) ?? refuse(`does not say where the weight "${weight.name}" lies`)),
  };
}

const plainAttributes: readonly AttributeProto_AttributeType[] = [
  AttributeProto_AttributeType.INT,
  AttributeProto_AttributeType.FLOAT,
  AttributeProto_AttributeType.STRING,
  AttributeProto_AttributeType.INTS,
  AttributeProto_AttributeType.FLOATS,
];

function isPlain({ type, g, graphs, t, tensors }: AttributeProto): boolean {
  const nested = g !== undefined || t !== undefined || graphs.length > 0 || tensors.length > 0;
  return plainAttributes.includes(type) && !nested;
}

function valueType({ type }: ValueInfoProto): ValueType | undefined {
  if (type?.value.case !== 'tensorType') return undefined;
  const { elemType, shape } = type.value.value;
  const dtype = dtypeOf(elemType);
  const dims: Dim[] = [];
  for (const { value } of shape?.dim ?? []) {
    if (value.case === 'dimValue') dims.push(Number(value.value));
    else if (value.case === 'dimParam') dims.push(value.value);
    else return undefined;
  }
  return dtype === undefined || shape === undefined ? undefined : { dtype, shape: dims };
}

function dtypeOf(elementType: number): DType | undefined {
  return Object.keys(elementTypes)
    .filter(isDType)
    .find((dtype) => elementTypes[dtype] === elementType);
}

function placeOf({ externalData }: TensorProto): OnnxSummary['external'][number] | undefined {
  const entries = new Map(externalData.map(({ key, value }) => [key, value]));
  const path = entries.get('location');
  const offset = wholeNumber(entries.get('offset'));
  const length = wholeNumber(entries.get('length'));
  return path === undefined || offset === undefined || length === undefined ? undefined : { path, offset, length };
}

function wholeNumber(text: string | undefined): number | undefined {
  const value = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}
