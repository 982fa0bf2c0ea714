/**
 * Parameters as graph inputs, cut into blocks of rows if they are large: an output above 32 MB page-faults on every
 * step on CPU (105 ms for one of 40 MB against 41 ms for ten of 4 MB), and training returns every parameter.
 */
import { LinnetError } from '../errors.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { concat } from '../graph/ops/layout.ts';
import { elementCount, type Tensor, tensor, type WeightMap, type Weights } from '../graph/tensor.ts';
import type { ParameterShapes, ParameterSource } from '../nn/parameters.ts';

const largestBlockBytes = 32 * 1024 * 1024;

/** Rows `start`…`end`−1 of a parameter; a small parameter is one block. */
export interface ParameterBlock {
  /** Name of the graph input: the parameter's, followed by "#index" if there are several blocks. */
  readonly name: string;
  readonly parameter: string;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

/** Cuts parameters into blocks of at most `limit` bytes (single rows are never cut). */
export function parameterBlocks(parameters: ParameterShapes, limit = largestBlockBytes): ParameterBlock[] {
  const blocks: ParameterBlock[] = [];
  for (const [parameter, { shape }] of parameters) {
    const rows = shape[0] ?? 1;
    const rowBytes = 4 * elementCount(shape.slice(1));
    const height = Math.max(1, Math.min(rows, Math.floor(limit / rowBytes)));
    for (let start = 0; start < rows; start += height) {
      const end = Math.min(rows, start + height);
      const name = height >= rows ? parameter : `${parameter}#${start / height}`;
      blocks.push({ name, parameter, shape: shape.length === 0 ? [] : [end - start, ...shape.slice(1)], start, end });
    }
  }
  return blocks;
}

/** The rows of a block, as a view of the parameter's data (not copied). */
export function blockTensor(block: ParameterBlock, parameter: Tensor<'float32'>): Tensor<'float32'> {
  const rowSize = elementCount(parameter.shape.slice(1));
  return tensor('float32', block.shape, parameter.data.subarray(block.start * rowSize, block.end * rowSize));
}

/** Joins the blocks of every parameter. A parameter of one block is not copied. */
export function joinParameterBlocks(
  blocks: readonly ParameterBlock[],
  tensors: Weights,
  parameters: ParameterShapes,
): WeightMap {
  const joined: WeightMap = new Map();
  for (const block of blocks) {
    const part = tensors.get(block.name);
    const shape = parameters.get(block.parameter)?.shape;
    if (part === undefined || shape === undefined) {
      throw new LinnetError('TENSOR', `block "${block.name}" is missing`);
    }
    if (block.name === block.parameter) {
      joined.set(block.parameter, part);
      continue;
    }
    const whole = joined.get(block.parameter) ?? tensor('float32', shape, new Float32Array(elementCount(shape)));
    whole.data.set(part.data, block.start * elementCount(shape.slice(1)));
    joined.set(block.parameter, whole);
  }
  return joined;
}

/** The trained parameters of a model as inputs; the others come from `frozen`. */
export class BlockParameters implements ParameterSource {
  readonly graph: Graph;
  /** The graph input of every block, in their order. */
  readonly inputs: readonly Value[];
  readonly #values = new Map<string, Value>();
  readonly #frozen: ParameterSource;

  constructor(graph: Graph, blocks: readonly ParameterBlock[], frozen: ParameterSource) {
    this.graph = graph;
    this.#frozen = frozen;
    this.inputs = blocks.map(({ name, shape }) => graph.input(name, 'float32', shape));
    const parts = new Map<string, Value[]>();
    for (const [index, { parameter }] of blocks.entries()) {
      parts.set(parameter, [...(parts.get(parameter) ?? []), this.inputs[index]]);
    }
    for (const [parameter, values] of parts) this.#values.set(parameter, concat(values, 0));
  }

  parameter(name: string, shape: readonly number[]): Value {
    return this.#values.get(name) ?? this.#frozen.parameter(name, shape);
  }
}
