/** Where a model's parameters come from: graph inputs while training, weights of the compiled model otherwise. */
import { LinnetError } from '../errors.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { type Tensor, elementCount, formatShape, sameShape } from '../graph/tensor.ts';
import type { Random } from '../random.ts';

/** A model's parameters by checkpoint name, in the model's order: names and shapes. */
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

/** Gives a model its parameters. A parameter requested twice is one value. */
export interface ParameterSource {
  readonly graph: Graph;
  /** @throws LinnetError `TENSOR` if there is no such parameter, or its shape differs. */
  parameter(name: string, shape: readonly number[]): Value;
  /**
   * Products of `x` [..., inputs] with a matrix, [..., outputs], if the source does not compute them from `parameter`:
   * quantized weights, low-rank updates. Absent, or undefined for a matrix, leaves it to the caller.
   */
  readonly multiply?: (x: Value, matrix: WeightMatrix) => Value | undefined;
  /**
   * Products of `x` [..., inputs] with matrices of equal inputs side by side, [..., Σ outputs], if the source holds them as
   * one matrix. Absent or undefined: one product each.
   */
  readonly multiplyJoined?: (x: Value, matrices: readonly WeightMatrix[]) => Value | undefined;
  /** Like `multiply`, looks up a parameter table's rows by token id: int32 [...] → [..., width]. */
  readonly lookUp?: (tokens: Value, table: WeightTable) => Value | undefined;
}

/** A parameter matrix that multiplies activations. */
export interface WeightMatrix {
  /** The parameter's name: "model.layers.0.mlp.up_proj.weight". */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Whether the parameter is [outputs, inputs] or, in GPT-2's checkpoints, [inputs, outputs]. */
  readonly layout: 'outputs-first' | 'inputs-first';
}

/** A parameter table for row lookups. */
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
    return valueOf(this.values, name, shape, () => this.graph.input(name, 'float32', shape));
  }
}

/** Parameters as weights of the compiled model: constant, so the runtime packs them once. */
export class WeightParameters implements ParameterSource {
  readonly graph: Graph;
  readonly #tensors: ReadonlyMap<string, Tensor>;
  readonly #values = new Map<string, Value>();

  constructor(graph: Graph, tensors: ReadonlyMap<string, Tensor>) {
    this.graph = graph;
    this.#tensors = tensors;
  }

  parameter(name: string, shape: readonly number[]): Value {
    return valueOf(this.#values, name, shape, () => {
      const tensor = this.#tensors.get(name);
      if (tensor !== undefined) return this.graph.weight(name, tensor);
      throw new LinnetError('TENSOR', `parameter "${name}" ${formatShape(shape)} is missing`);
    });
  }
}

/** A parameter's value, made at the first request. */
function valueOf(values: Map<string, Value>, name: string, shape: readonly number[], make: () => Value): Value {
  const value = values.get(name) ?? make();
  values.set(name, value);
  if (sameShape(value.shape, shape)) return value;
  throw new LinnetError('TENSOR', `parameter "${name}" is ${value}, the model needs ${formatShape(shape)}`);
}

/** The source with a prefix on all names: `scoped(source, 'model.layers.0')` requests "model.layers.0.…". */
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

// Roles of parameters. A family declares each parameter's role, and one table lists its consequences: weight decay,
// initialization, the group in which low-rank training can train it whole, and whether a classifier drops it. The role does
// not depend on the name, which follows the family's checkpoints.

/** Parameter groups that low-rank training can train whole. */
export const parameterGroups = ['norms', 'embeddings', 'mixers'] as const;
export type ParameterGroup = (typeof parameterGroups)[number];

/** A role's consequences. */
interface RoleConsequences {
  /**
   * Whether weight decay applies: it does to matrices and embeddings; gains, biases (including tables of relative ones),
   * factors and filters are scales, not directions.
   */
  readonly decays: boolean;
  /** `normal` with the model's deviation, `residual` smaller by √(2·layers), as in GPT-2; `mixer`: the mixer's own values. */
  readonly fresh: 'zeros' | 'ones' | 'normal' | 'residual' | 'mixer';
  readonly group: ParameterGroup | null;
  /** Whether it only serves to predict tokens, so that a classifier does not need it. Default false. */
  readonly predictsTokens?: boolean;
  /** Whether it makes queries or keys (also values, if they share a matrix). Default false. */
  readonly makesQueriesOrKeys?: boolean;
}

const matrix = { decays: true, fresh: 'normal', group: null } as const;
const bias = { decays: false, fresh: 'zeros', group: null } as const;
const gain = { decays: false, fresh: 'ones', group: 'norms' } as const;

const roles = {
  /** A table whose rows are looked up by token, position or segment. */
  embedding: { decays: true, fresh: 'normal', group: 'embeddings' },
  /** A norm's gain. */
  norm: gain,
  /** A norm's gain minus one. */
  'centred norm': { ...gain, fresh: 'zeros' },
  /** A norm's bias. */
  'norm bias': { decays: false, fresh: 'zeros', group: 'norms' },
  /** A single factor. */
  scale: { decays: false, fresh: 'ones', group: null },
  matrix,
  bias,
  /** A matrix whose products go straight to the residual stream. */
  'residual output': { ...matrix, fresh: 'residual' },
  /** The matrix of logits, if it is not the token table. */
  head: { ...matrix, predictsTokens: true },
  'head bias': { ...bias, predictsTokens: true },
  /** A projection to queries or keys, or to both. */
  'query-key matrix': { ...matrix, makesQueriesOrKeys: true },
  'query-key bias': { ...bias, makesQueriesOrKeys: true },
  /** The gain of a query or key norm. */
  'query-key norm': { ...gain, makesQueriesOrKeys: true },
  'query-key centred norm': { ...gain, fresh: 'zeros', makesQueriesOrKeys: true },
  /** Factors or biases on queries and keys, row by row: FLASH's γ and β. */
  'query-key scale': { decays: false, fresh: 'normal', group: null, makesQueriesOrKeys: true },
  /** A table of score biases by distance. */
  'position bias': { decays: false, fresh: 'normal', group: null },
  /** A mixer's factor, filter, feature map or bias table. */
  mixer: { decays: false, fresh: 'mixer', group: 'mixers' },
  /** A mixer's row projection. */
  'mixer matrix': { decays: true, fresh: 'mixer', group: 'mixers' },
} as const satisfies Readonly<Record<string, RoleConsequences>>;

export type ParameterRole = keyof typeof roles;

/** A role's consequences. */
export function consequencesOf(role: ParameterRole): RoleConsequences {
  return roles[role];
}

/** Roles of the biases of linear layers, by the roles of their weights. */
const biasRoles = {
  matrix: 'bias',
  'residual output': 'bias',
  head: 'head bias',
  'query-key matrix': 'query-key bias',
} as const satisfies Partial<Record<ParameterRole, ParameterRole>>;

/** A distribution for fresh values: uniform in ±1/√inputs is PyTorch's default for linear layers. */
export type InitialValues =
  | { readonly constant: number }
  | { readonly normal: number }
  | { readonly uniformOfInputs: number };

/** A parameter as a family declares it. */
export interface DeclaredParameter {
  readonly shape: readonly number[];
  readonly role: ParameterRole;
  /** The family's initial distribution, if it differs from the role's. */
  readonly initial?: InitialValues;
}

/** All parameters of a model by checkpoint name, in the model's order. */
export type DeclaredParameters = ReadonlyMap<string, DeclaredParameter>;

/** Collects a model's parameters in order. */
export class ParameterList {
  readonly all = new Map<string, DeclaredParameter>();

  add(role: ParameterRole, name: string, shape: readonly number[], initial?: InitialValues): void {
    this.all.set(name, { shape, role, ...(initial && { initial }) });
  }

  /**
   * A linear layer's weight and bias: `name`.weight and `name`.bias.
   * @param role the weight's
   * @param layout default: [outputs, inputs]
   */
  linear(
    role: keyof typeof biasRoles,
    name: string,
    inputs: number,
    outputs: number,
    { layout, initial }: { layout?: WeightMatrix['layout']; initial?: InitialValues } = {},
  ): void {
    const shape = layout === 'inputs-first' ? [inputs, outputs] : [outputs, inputs];
    this.add(role, `${name}.weight`, shape, initial);
    this.add(biasRoles[role], `${name}.bias`, [outputs], initial);
  }

  /** A layer norm's gain and bias: `name`.weight and `name`.bias. */
  layerNorm(name: string, width: number): void {
    this.add('norm', `${name}.weight`, [width]);
    this.add('norm bias', `${name}.bias`, [width]);
  }

  /** Adds parameters declared elsewhere under prefixed names. */
  addAll(prefix: string, parameters: DeclaredParameters): void {
    for (const [name, parameter] of parameters) this.all.set(`${prefix}.${name}`, parameter);
  }
}

/** Draws values in row-major order. */
export function drawValues(initial: InitialValues, shape: readonly number[], random: Random): Float32Array {
  const values = new Float32Array(elementCount(shape));
  if ('constant' in initial) return values.fill(initial.constant);
  const draw =
    'normal' in initial
      ? () => initial.normal * random.normal()
      : () => (2 * random.uniform() - 1) / Math.sqrt(initial.uniformOfInputs);
  return values.map(draw);
}
