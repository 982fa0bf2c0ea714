/** From a graph to an ONNX model: names every value that an output depends on, and emits the nodes. */
import { internalError, LinnetError } from '../../errors.ts';
import { type Emitter, type Graph, liveNodes, type NodeInput, Value } from '../graph.ts';
import { type DeferredTensor, type Tensor, float32, formatShape, tensorBytes } from '../tensor.ts';
import type { Device, OnnxAttributes, OnnxDomain, OnnxGraph, OnnxNode, OnnxValue } from './model.ts';

/** Constants smaller than this are compared by content, larger ones by identity. */
const sharedConstantBytes = 4096;

/**
 * Lowers the live part of a graph: the nodes, inputs and weights that its outputs depend on. Inputs, weights and
 * outputs keep their names.
 *
 * @throws LinnetError `GRAPH` if the graph has no outputs, or an output is named like an input or a weight.
 */
export function lowerGraph(graph: Graph, device: Device): OnnxGraph {
  if (graph.outputs.size === 0) throw new LinnetError('GRAPH', `graph "${graph.name}" has no outputs`);
  return new Lowering(graph, device).lower();
}

class Lowering implements Emitter {
  readonly device: Device;
  readonly #graph: Graph;
  readonly #nodes: OnnxNode[] = [];
  readonly #initializers: { name: string; tensor: Tensor }[] = [];
  readonly #deferred: { name: string; tensor: DeferredTensor }[] = [];
  readonly #liveInputs = new Set<Value>();
  readonly #names = new Map<Value, string>();
  readonly #constants = new Map<Tensor | string, string>();
  /** Names given by the user; generated names avoid them. */
  readonly #reserved: ReadonlySet<string>;
  /** Names readable from here on: inputs, initializers, and results written so far. */
  readonly #readable = new Set<string>();
  #nextName = 0;

  constructor(graph: Graph, device: Device) {
    this.#graph = graph;
    this.device = device;
    for (const name of graph.outputs.keys()) {
      if (graph.inputs.has(name) || graph.weights.has(name)) {
        throw new LinnetError(
          'GRAPH',
          `output "${name}" of graph "${graph.name}" is named like an input or a weight; give it another name`,
        );
      }
    }
    this.#reserved = new Set([...graph.inputs.keys(), ...graph.weights.keys(), ...graph.outputs.keys()]);
  }

  lower(): OnnxGraph {
    const { outputs, inputs } = this.#graph;
    for (const [name, value] of outputs) {
      if (value.origin.kind === 'result' && !this.#names.has(value)) this.#names.set(value, name);
    }
    for (const node of liveNodes(outputs.values())) node.lower(this);
    for (const [name, value] of outputs) {
      const source = this.#name(value);
      // An output has its own name: an input, weight, constant or second output is copied.
      if (source !== name) this.emit('Identity', [source], [name]);
      if (!this.#readable.has(name)) throw internalError(`no node writes output "${name}"`);
    }
    const described = ([name, { dtype, shape }]: [string, Value]): OnnxValue => ({ name, dtype, shape });
    return {
      name: this.#graph.name,
      inputs: [...inputs].filter(([, value]) => this.#liveInputs.has(value)).map(described),
      outputs: [...outputs].map(described),
      initializers: this.#initializers,
      deferred: this.#deferred,
      nodes: this.#nodes,
    };
  }

  #name(input: NodeInput): string {
    if (typeof input === 'string') return input;
    if (typeof input === 'number') return this.#constant(float32([], [input]));
    if (!(input instanceof Value)) return this.#constant(input);
    const known = this.#names.get(input);
    if (known !== undefined) return known;
    const name = this.#introduce(input);
    this.#names.set(input, name);
    return name;
  }

  step(opType: string, inputs: readonly NodeInput[], attributes?: OnnxAttributes, domain?: OnnxDomain): string {
    const output = this.#fresh('t');
    this.emit(opType, inputs, [output], attributes, domain);
    return output;
  }

  /** An initializer's name; equal small ones are shared. */
  #constant(tensor: Tensor): string {
    const bytes = tensorBytes(tensor);
    const key =
      bytes.byteLength < sharedConstantBytes
        ? `${tensor.dtype}${formatShape(tensor.shape)} ${bytes.join(' ')}`
        : tensor;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = this.#initialize(this.#fresh('c'), tensor);
    this.#constants.set(key, name);
    return name;
  }

  emit(
    opType: string,
    read: readonly NodeInput[],
    written: readonly (Value | string)[],
    attributes: OnnxAttributes = {},
    domain: OnnxDomain = '',
  ): void {
    const [inputs, outputs] = [read, written].map((values) => values.map((value) => this.#name(value)));
    for (const input of inputs) {
      if (input !== '' && !this.#readable.has(input)) {
        throw internalError(`${opType} reads "${input}" before any node writes it`);
      }
    }
    for (const output of outputs) {
      if (output === '') continue;
      if (this.#readable.has(output)) throw internalError(`${opType} writes "${output}" a second time`);
      this.#readable.add(output);
    }
    this.#nodes.push({ opType, domain, inputs, outputs, attributes });
  }

  /** Names a value on its first use. */
  #introduce(value: Value): string {
    const { origin } = value;
    if (origin.kind === 'result') return this.#fresh('v');
    if (origin.kind === 'weight') return this.#initialize(origin.name, origin.tensor);
    if (origin.kind === 'constant') return this.#constant(origin.tensor);
    this.#liveInputs.add(value);
    this.#readable.add(origin.name);
    return origin.name;
  }

  #initialize(name: string, tensor: Tensor | DeferredTensor): string {
    if ('load' in tensor) this.#deferred.push({ name, tensor });
    else this.#initializers.push({ name, tensor });
    this.#readable.add(name);
    return name;
  }

  #fresh(prefix: string): string {
    let name: string;
    do name = `${prefix}${this.#nextName++}`;
    while (this.#reserved.has(name));
    return name;
  }
}
