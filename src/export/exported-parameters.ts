/**
 * Reads a model's parameters from its export's graphs, if they are stored unchanged: float32 folders hold every one under its
 * name. Checks places and sizes, since the files are untrusted. Also runs in browsers.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LinnetError } from '../errors.ts';
import { ModelProtoSchema, type TensorProto, TensorProto_DataLocation } from '../graph/onnx/onnx_pb.ts';
import { elementTypes } from '../graph/onnx/model.ts';
import { bytesPerElement, elementCount, type Tensor, tensorFromBytes, type WeightMap } from '../graph/tensor.ts';
import type { ModelDescription } from '../models/model.ts';

/** A graph in an exported folder. */
export interface GraphFile {
  /** Its name in errors. */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** The file next to it; absent if the graph holds the weights. */
  readonly data?: { readonly name: string; readonly bytes: Uint8Array };
}

/**
 * Finds every parameter of a model in its exported graphs.
 * @param graphs searched in this order
 * @returns copies, by the model's names
 * @throws LinnetError `FORMAT` for a malformed graph, or a parameter that differs in type or shape from the model's; `CONFIG`
 *   if no graph has a parameter, as in folders of other types than f32
 */
export function exportedParameters(model: ModelDescription, graphs: readonly GraphFile[]): WeightMap {
  const stored = new Map<string, { readonly graph: GraphFile; readonly tensor: TensorProto }>();
  for (const graph of graphs) {
    for (const tensor of initializersOf(graph)) {
      if (!stored.has(tensor.name)) stored.set(tensor.name, { graph, tensor });
    }
  }
  const parameters: WeightMap = new Map();
  for (const [name, { shape }] of model.parameters) {
    const found = stored.get(name);
    if (found === undefined) {
      throw new LinnetError(
        'CONFIG',
        `the export holds no numbers of "${name}"; export the model as f32 to have all of its parameters`,
      );
    }
    parameters.set(name, numbersOf(name, shape, found.graph, found.tensor));
  }
  return parameters;
}

function initializersOf({ name, bytes }: GraphFile): readonly TensorProto[] {
  try {
    return fromBinary(ModelProtoSchema, bytes).graph?.initializer ?? [];
  } catch (cause) {
    throw new LinnetError('FORMAT', `${name} is not an ONNX model`, { cause });
  }
}

function numbersOf(
  name: string,
  shape: readonly number[],
  graph: GraphFile,
  { dataType, dims, dataLocation, externalData, rawData }: TensorProto,
): Tensor<'float32'> {
  const label = `${graph.name}: the weight "${name}"`;
  if (dataType !== elementTypes.float32 || String(dims) !== String(shape)) {
    throw new LinnetError('FORMAT', `${label} is [${String(dims)}], its model needs float32 [${shape.join(',')}]`);
  }
  const byteLength = elementCount(shape) * bytesPerElement.float32;
  let bytes = rawData;
  if (dataLocation === TensorProto_DataLocation.EXTERNAL) {
    const place = new Map(externalData.map(({ key, value }) => [key, value]));
    const offset = Number(place.get('offset') ?? 0);
    const { data } = graph;
    const inside = Number.isSafeInteger(offset) && offset >= 0 && offset + byteLength <= (data?.bytes.byteLength ?? 0);
    if (data === undefined || place.get('location') !== data.name || !inside) {
      throw new LinnetError('FORMAT', `${label} lies outside of the file next to its graph`);
    }
    bytes = data.bytes.subarray(offset, offset + byteLength);
  }
  if (bytes.byteLength !== byteLength) {
    throw new LinnetError('FORMAT', `${label} has ${bytes.byteLength} bytes, expected ${byteLength}`);
  }
  return tensorFromBytes('float32', shape, new Uint8Array(bytes));
}
