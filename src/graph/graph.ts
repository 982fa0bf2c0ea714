/**
 * A computation: a directed acyclic graph of operations on typed, shaped values.
 *
 * A graph is built by calling op functions (`graph/ops/`) on values; each call checks dtypes and shapes, so that a mistake
 * is reported at its own line. Nothing runs here: `runtime/compile` turns a graph's live part into an ONNX model.
 */
import { internalError, LinnetError } from '../errors.ts';
import type { Device, OnnxAttributes, OnnxDomain, ValueType } from './onnx/model.ts';
import {
  type AnyTensor,
  type DType,
  type DeferredTensor,
  type Shape,
  type Tensor,
  discriminated,
  elementCount,
  formatShape,
} from './tensor.ts';
import type { JsonObject } from '../files/json-object.ts';

export type { ValueType };

/** Where a value comes from. */
export type ValueOrigin =
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'weight'; readonly name: string; readonly tensor: Tensor | DeferredTensor }
  | { readonly kind: 'constant'; readonly tensor: Tensor }
  | { readonly kind: 'result'; readonly node: Node; readonly index: number };

/** One tensor of a computation. Immutable; a Graph or an op makes it. */
export class Value implements ValueType {
  readonly graph: Graph;
  readonly id: number;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly origin: ValueOrigin;

  constructor(graph: Graph, id: number, type: ValueType, origin: ValueOrigin) {
    this.graph = graph;
    this.id = id;
    this.dtype = type.dtype;
    this.shape = type.shape;
    this.origin = origin;
  }

  /** Number of dimensions. */
  get rank(): number {
    return this.shape.length;
  }

  /** A constant's tensor, else undefined. Weights do not count: they may be large and may be replaced. */
  get constant(): Tensor | undefined {
    return this.origin.kind === 'constant' ? this.origin.tensor : undefined;
  }

  /** "float32[2,T,64]". */
  toString(): string {
    return `${this.dtype}${formatShape(this.shape)}`;
  }
}

/** An ONNX node's input: a value of the graph, numbers, a float32 scalar, or an intermediate result's name. */
export type NodeInput = Value | Tensor | number | string;

/** Output of an op's lowering. */
export interface Emitter {
  readonly device: Device;
  emit(
    opType: string,
    inputs: readonly NodeInput[],
    outputs: readonly Value[],
    attributes?: OnnxAttributes,
    domain?: OnnxDomain,
  ): void;
  /** Emits a node with an intermediate result, and returns its name. */
  step(opType: string, inputs: readonly NodeInput[], attributes?: OnnxAttributes, domain?: OnnxDomain): string;
}

/** An application of an op. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attributes: Attributes;
  /** Appends the ONNX nodes that compute the outputs. */
  lower(emitter: Emitter): void;
  /** The same op on other values of the same types, in their graph. */
  again(inputs: readonly Value[]): readonly Value[];
  /**
   * The inputs' gradients from the outputs' (undefined for an output that does not influence the loss). Undefined marks an
   * input without one. Ops build the graph of gradients.
   */
  gradient(outputGradients: readonly (Value | undefined)[]): readonly (Value | undefined)[];
}

/** Attributes are plain data: equal attributes must have equal JSON. */
export type Attributes = JsonObject;

/** Undefined marks an input without a gradient. */
type InputGradients = readonly (Value | undefined)[];

/** Definition of an op: its shape rule, its ONNX lowering, its gradient. One per op, in `graph/ops/`. */
export interface OpDefinition<A extends Attributes> {
  readonly name: string;
  /** Types of the outputs. @throws LinnetError `SHAPE` naming the op and the offending shapes. */
  infer(inputs: readonly Value[], attributes: A): ValueType[];
  /** Emits ONNX nodes that write the names of `node.outputs`. */
  lower(emitter: Emitter, node: Node, attributes: A): void;
  /**
   * The inputs' gradients from the first output's, other outputs being by-products; for an op with several results from all
   * their gradients, undefined for one that does not influence the loss; or the reason why there are none.
   */
  readonly gradient:
    | ((node: Node, outputGradient: Value, attributes: A) => InputGradients)
    | { ofEach(node: Node, outputGradients: readonly (Value | undefined)[], attributes: A): InputGradients }
    | { readonly notDifferentiable: string };
  /** Computes the result on the host if all inputs are constants; undefined leaves it to the runtime. */
  fold?(inputs: readonly AnyTensor[], attributes: A): Tensor[] | undefined;
  /** An existing value that equals the result, such as x for x · 1. */
  simplify?(inputs: readonly Value[], attributes: A): Value | undefined;
}

/** A defined op; tests enumerate them. The only way to add nodes to a graph. */
export interface Op<A extends Attributes> {
  readonly definition: OpDefinition<A>;
  apply(inputs: readonly Value[], attributes: A): readonly Value[];
  /** The first output of `apply`; others are by-products. */
  first(inputs: readonly Value[], attributes: A): Value;
}

/** For ops without attributes. */
export type NoAttributes = Readonly<Record<string, never>>;

/** Binds an op to its definition; registers nothing. */
export function defineOp<A extends Attributes>(definition: OpDefinition<A>): Op<A> {
  const apply = (inputs: readonly Value[], attributes: A): readonly Value[] => {
    if (inputs.length === 0) throw internalError(`${definition.name} was applied to no values`);
    return inputs[0].graph.apply(definition, inputs, attributes);
  };
  return { definition, apply, first: (inputs, attributes) => apply(inputs, attributes)[0] };
}

/** An op without attributes as a function from its inputs to its first output; others are by-products. */
export type OpFunction<Inputs extends readonly Value[]> = Op<NoAttributes> & ((...inputs: Inputs) => Value);

export function defineFunction(definition: OpDefinition<NoAttributes>): OpFunction<readonly Value[]> {
  const op = defineOp(definition);
  return Object.assign((...inputs: readonly Value[]): Value => op.first(inputs, {}), op);
}

/** The shape rule for an op whose output has its first input's type. */
export function sameType([x]: readonly Value[]): ValueType[] {
  return [{ dtype: x.dtype, shape: x.shape }];
}

/** A computation under construction. */
export class Graph {
  readonly name: string;
  readonly #inputs = new Map<string, Value>();
  readonly #weights = new Map<string, Value>();
  readonly #outputs = new Map<string, Value>();
  readonly #shared = new Map<string, readonly Value[]>();
  readonly #cuts = new Set<Value>();
  #nextId = 0;

  constructor(name = 'linnet') {
    this.name = name;
  }

  /** By name, in order of declaration. */
  get inputs(): ReadonlyMap<string, Value> {
    return this.#inputs;
  }

  /** By name, in order of declaration. */
  get weights(): ReadonlyMap<string, Value> {
    return this.#weights;
  }

  /** By name, in order of declaration. */
  get outputs(): ReadonlyMap<string, Value> {
    return this.#outputs;
  }

  /** Values at which the graph can be split into parts (`segments.ts`), in order of creation. */
  get cuts(): ReadonlySet<Value> {
    return this.#cuts;
  }

  /** Marks a result as one of `cuts`. */
  cutAt(value: Value): void {
    if (value.origin.kind === 'result') this.#cuts.add(value);
  }

  /** Declares an input, given at every run. */
  input(name: string, dtype: DType, shape: Shape): Value {
    this.#assertFree(name);
    const value = this.#value({ dtype, shape: [...shape] }, { kind: 'input', name });
    this.#inputs.set(name, value);
    return value;
  }

  /** Declares a weight of the compiled model, which the runtime can pre-pack. Deferred weights are made on compiling or writing. */
  weight(name: string, tensor: Tensor | DeferredTensor): Value {
    this.#assertFree(name);
    const value = this.#value(tensor, { kind: 'weight', name, tensor });
    this.#weights.set(name, value);
    return value;
  }

  /** Makes a constant; it may be folded into others. */
  constant(tensor: Tensor): Value {
    return this.#value(tensor, { kind: 'constant', tensor });
  }

  /** A constant that several parts of a graph request under one key; the first request makes it. */
  sharedConstant(key: string, make: () => Tensor): Value {
    return this.#once(`constant ${key}`, () => [this.constant(make())])[0];
  }

  /** `sharedConstant` for float32 numbers by row-major index. */
  sharedNumbers(key: string, shape: readonly number[], at: (index: number) => number): Value {
    return this.sharedConstant(key, () => {
      const data = new Float32Array(elementCount(shape));
      for (let i = 0; i < data.length; i++) data[i] = at(i);
      return { dtype: 'float32', shape, data };
    });
  }

  /** A float32 scalar constant. Equal scalars are one value. */
  scalar(value: number): Value {
    return this.#once(`scalar ${Object.is(value, -0) ? '-0' : value}`, () => [
      this.constant({ dtype: 'float32', shape: [], data: Float32Array.of(value) }),
    ])[0];
  }

  /** Names a value as an output of the graph. */
  output(name: string, value: Value): void {
    if (value.graph !== this) throw new LinnetError('GRAPH', `output "${name}" is a value of another graph`);
    if (this.#outputs.has(name)) throw new LinnetError('GRAPH', `the graph already has an output "${name}"`);
    this.#outputs.set(name, value);
  }

  /** Adds a node; equal nodes on equal inputs are made once. Called by ops, not by users. */
  apply<A extends Attributes>(definition: OpDefinition<A>, inputs: readonly Value[], attributes: A): readonly Value[] {
    for (const input of inputs) {
      if (input.graph !== this)
        throw new LinnetError('GRAPH', `${definition.name}: an input is a value of another graph`);
    }
    const types = definition.infer(inputs, attributes);
    const simpler = definition.simplify?.(inputs, attributes);
    if (simpler !== undefined) return [simpler];
    const key = `${definition.name} ${inputs.map((input) => input.id).join(' ')} ${JSON.stringify(attributes)}`;
    return this.#once(key, () => {
      const folded = foldConstants(definition, inputs, attributes);
      if (folded !== undefined) return folded.map((tensor) => this.constant(tensor));
      const outputs: Value[] = [];
      const node: Node = {
        op: definition.name,
        inputs: [...inputs],
        outputs,
        attributes,
        lower: (emitter) => definition.lower(emitter, node, attributes),
        again: (others) => defineOp(definition).apply(others, attributes),
        gradient: (outputGradients) => {
          const rule = definition.gradient;
          const [first] = outputGradients;
          if (typeof rule === 'function') return first === undefined ? [] : rule(node, first, attributes);
          if ('ofEach' in rule) return rule.ofEach(node, outputGradients, attributes);
          throw new LinnetError('GRAPH', `${definition.name} has no gradient: ${rule.notDifferentiable}`);
        },
      };
      types.forEach((type, index) => {
        outputs.push(this.#value(type, { kind: 'result', node, index }));
      });
      return outputs;
    });
  }

  #once(key: string, make: () => readonly Value[]): readonly Value[] {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#shared.set(key, made);
    return made;
  }

  #value(type: ValueType, origin: ValueOrigin): Value {
    return new Value(this, this.#nextId++, { dtype: type.dtype, shape: type.shape }, origin);
  }

  #assertFree(name: string): void {
    if (this.#inputs.has(name) || this.#weights.has(name)) {
      throw new LinnetError('GRAPH', `the graph already has an input or weight "${name}"`);
    }
  }
}

/** Declares inputs by name. @param leading dimensions before each shape */
export function declareInputs(
  graph: Graph,
  inputs: Readonly<Record<string, ValueType>>,
  leading: Shape,
): Record<string, Value> {
  const entries = Object.entries(inputs).map(
    ([name, { dtype, shape }]) => [name, graph.input(name, dtype, [...leading, ...shape])] as const,
  );
  return Object.fromEntries(entries);
}

/** Constants with more elements are left to the runtime: folding them would only enlarge the model. */
const foldLimit = 1 << 20;

function foldConstants<A extends Attributes>(
  definition: OpDefinition<A>,
  inputs: readonly Value[],
  attributes: A,
): Tensor[] | undefined {
  if (definition.fold === undefined) return undefined;
  const tensors: AnyTensor[] = [];
  for (const input of inputs) {
    const constant = input.constant;
    if (constant === undefined || constant.data.length > foldLimit) return undefined;
    tensors.push(discriminated(constant));
  }
  return definition.fold(tensors, attributes);
}

/** Nodes that the given values depend on, inputs before users; stops at `leaves`. */
export function liveNodes(values: Iterable<Value>, leaves: ReadonlySet<Value> = new Set()): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, 'open' | 'done'>();
  const stack: Node[] = [];
  const push = (value: Value): void => {
    if (leaves.has(value)) return;
    if (value.origin.kind === 'result' && !state.has(value.origin.node)) stack.push(value.origin.node);
  };
  for (const value of values) {
    push(value);
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      const seen = state.get(node);
      if (seen === undefined) {
        state.set(node, 'open');
        for (const input of node.inputs) push(input);
      } else {
        stack.pop();
        if (seen === 'open') {
          state.set(node, 'done');
          order.push(node);
        }
      }
    }
  }
  return order;
}
