/** Where a model's parameters come from: graph inputs while training, weights of the compiled model otherwise. */
import { LinnetError } from '../errors.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { formatShape, sameShape } from '../graph/shape.ts';
import { elementCount, type Tensor } from '../graph/tensor.ts';

/** Names and shapes of a model's parameters, in the order of the model, under the checkpoint's names. */
export type ParameterShapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** The number of all elements. */
export function parameterCount(parameters: ParameterShapes): number {
  return [...parameters.values()].reduce((total, { shape }) => total + elementCount(shape), 0);
}

/** The parameters whose names are included. */
export function selectParameters<P>(
  parameters: Iterable<readonly [string, P]>,
  includes: (name: string) => boolean,
): Map<string, P> {
  return new Map([...parameters].filter(([name]) => includes(name)));
}

/** Gives a model its parameters. A parameter asked for twice is one value. */
export interface ParameterSource {
  readonly graph: Graph;
  /** @throws LinnetError `TENSOR` if there is no such parameter, or it has another shape. */
  parameter(name: string, shape: readonly number[]): Value;
  /**
   * Products of `x` [..., inputs] with a matrix, [..., outputs], where the source does not compute them from
   * `parameter`: quantized weights, low-rank updates. Absent, or undefined for a matrix, leaves it to the caller.
   */
  readonly multiply?: (x: Value, matrix: WeightMatrix) => Value | undefined;
  /**
   * Products of `x` [..., inputs] with matrices of equal inputs side by side, [..., Σ outputs], where the source has them as
   * one matrix. Absent or undefined: one product for each.
   */
  readonly multiplyJoined?: (x: Value, matrices: readonly WeightMatrix[]) => Value | undefined;
  /** Rows of a table of parameters by token id, as `multiply`: int32 [...] → [..., width]. */
  readonly lookUp?: (tokens: Value, table: WeightTable) => Value | undefined;
}

/** A matrix of parameters that multiplies activations. */
export interface WeightMatrix {
  /** Of the parameter: "model.layers.0.mlp.up_proj.weight". */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Whether the parameter is [outputs, inputs] or, as in GPT-2's checkpoints, [inputs, outputs]. */
  readonly layout: 'outputs-first' | 'inputs-first';
}

/** A table of parameters of which rows are looked up. */
export interface WeightTable {
  readonly name: string;
  readonly rows: number;
  readonly width: number;
}

/** Parameters as float32 inputs: the values that training differentiates and updates. */
export class InputParameters implements ParameterSource {
  readonly graph: Graph;
  readonly values = new Map<string, Value>();

  constructor(graph: Graph) {
    this.graph = graph;
  }

  parameter(name: string, shape: readonly number[]): Value {
    const known = this.values.get(name);
    if (known !== undefined) return checked(name, known, shape);
    const value = this.graph.input(name, 'float32', shape);
    this.values.set(name, value);
    return value;
  }
}

/** Parameters as weights of the compiled model: constant, so that the runtime packs them once. */
export class WeightParameters implements ParameterSource {
  readonly graph: Graph;
  readonly #tensors: ReadonlyMap<string, Tensor>;
  readonly #values = new Map<string, Value>();

  constructor(graph: Graph, tensors: ReadonlyMap<string, Tensor>) {
    this.graph = graph;
    this.#tensors = tensors;
  }

  parameter(name: string, shape: readonly number[]): Value {
    const known = this.#values.get(name);
    if (known !== undefined) return checked(name, known, shape);
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new LinnetError('TENSOR', `parameter "${name}" ${formatShape(shape)} is missing`);
    const value = checked(name, this.graph.weight(name, tensor), shape);
    this.#values.set(name, value);
    return value;
  }
}

function checked(name: string, value: Value, shape: readonly number[]): Value {
  if (sameShape(value.shape, shape)) return value;
  throw new LinnetError('TENSOR', `parameter "${name}" is ${value}, the model needs ${formatShape(shape)}`);
}

/** The source with all names prefixed: `scoped(source, 'model.layers.0')` asks for "model.layers.0.…". */
export function scoped(source: ParameterSource, prefix: string): ParameterSource {
  return {
    graph: source.graph,
    parameter: (name, shape) => source.parameter(`${prefix}.${name}`, shape),
    multiply: (x, matrix) => source.multiply?.(x, { ...matrix, name: `${prefix}.${matrix.name}` }),
    multiplyJoined: (x, matrices) =>
      source.multiplyJoined?.(
        x,
        matrices.map((matrix) => ({ ...matrix, name: `${prefix}.${matrix.name}` })),
      ),
    lookUp: (tokens, table) => source.lookUp?.(tokens, { ...table, name: `${prefix}.${table.name}` }),
  };
}
