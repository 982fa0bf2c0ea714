/** A run's memory and operations, as far as shapes tell before compiling. */
import { type Graph, liveNodes, type Node, type Value } from './graph.ts';
import { byteLengthOf, bytesPerElement, elementCount } from './tensor.ts';

/** Ops that only retype their input: the engine makes no copy. */
const views: ReadonlySet<string> = new Set([
  'reshape',
  'stopGradient',
  'surrogateGradient',
  'gradientAfter',
  'recomputed',
]);
/** Ops whose result may overwrite an input of the same size that nothing reads any more. */
const inPlace: ReadonlySet<string> = new Set([
  'add',
  'sub',
  'mul',
  'div',
  'minimum',
  'maximum',
  'neg',
  'sqrt',
  'exp',
  'log',
]);

/** A run's cost. */
export interface GraphCost {
  /** Most bytes of results alive at once, including constants. */
  readonly peakBytes: number;
  readonly inputBytes: number;
  readonly outputBytes: number;
  /** Additions and multiplications in matrix products. */
  readonly operations: number;
}

/** @throws RangeError for a graph with named dimensions, whose sizes are unknown */
export function graphCost(graph: Graph): GraphCost {
  const nodes = liveNodes(graph.outputs.values());
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  const bytes = (values: Iterable<Value>): number => [...values].reduce((total, value) => total + valueBytes(value), 0);
  return {
    peakBytes: peakBytes(graph, engineOrder(nodes)),
    inputBytes: bytes([...graph.inputs.values()].filter((value) => read.has(value))),
    outputBytes: bytes(graph.outputs.values()),
    operations: nodes.reduce((total, node) => total + productOperations(node), 0),
  };
}

function productOperations({ op, inputs: [a], outputs: [y] }: Node): number {
  if (op === 'inverse') return (2 * valueBytes(y) * Number(y.shape[y.rank - 1])) / bytesPerElement[y.dtype];
  if (op !== 'matmul') return 0;
  const [rows, inner] = [y.shape[y.rank - 2], valueBytes(a) / elementCount(a.shape.slice(0, -2).map(Number))].map(
    Number,
  );
  return 2 * elementCount(y.shape.map(Number)) * (inner / bytesPerElement[a.dtype] / rows);
}

function peakBytes(graph: Graph, order: readonly Node[]): number {
  const bytesOf = new Map<Value, number>();
  const storage = (value: Value): Value => {
    const { origin } = value;
    return origin.kind === 'result' && views.has(origin.node.op) ? storage(origin.node.inputs[0]) : value;
  };
  const readers = new Map<Value, number>();
  const read = (value: Value): void => {
    const stored = storage(value);
    readers.set(stored, (readers.get(stored) ?? 0) + 1);
  };
  for (const value of graph.outputs.values()) read(value); // kept to the end
  for (const { inputs } of order) inputs.forEach(read);
  let alive = 0;
  for (const value of readers.keys()) {
    if (value.constant !== undefined) alive += valueBytes(value);
  }
  let most = alive;
  for (const node of order) {
    const freed = new Set<Value>();
    for (const input of node.inputs.map(storage)) {
      const left = (readers.get(input) ?? 0) - 1;
      readers.set(input, left);
      if (left === 0 && bytesOf.has(input)) freed.add(input);
    }
    if (!views.has(node.op)) {
      for (const output of node.outputs) {
        const bytes = valueBytes(output);
        const place = inPlace.has(node.op) ? [...freed].find((value) => bytesOf.get(value) === bytes) : undefined;
        if (place !== undefined) freed.delete(place);
        else alive += bytes;
        bytesOf.set(output, bytes);
      }
      most = Math.max(most, alive);
      for (const output of node.outputs) if ((readers.get(output) ?? 0) === 0) freed.add(output);
    }
    for (const value of freed) alive -= bytesOf.get(value) ?? 0;
  }
  return most;
}

/** Bytes of a value. @throws RangeError for a shape with names */
export function valueBytes({ dtype, shape }: Value): number {
  const sizes = shape.map(Number);
  if (sizes.some(Number.isNaN)) throw new RangeError(`a value has the shape [${shape.join(',')}]`);
  return byteLengthOf({ dtype, shape: sizes });
}

/** ONNX Runtime's order: depth first from the nodes that nothing reads, always taking the last emitted. */
function engineOrder(nodes: readonly Node[]): Node[] {
  const place = new Map(nodes.map((node, index) => [node, index]));
  const madeBy = (value: Value): Node[] => (value.origin.kind === 'result' ? [value.origin.node] : []);
  const isRead = new Set(nodes.flatMap(({ inputs }) => inputs.flatMap(madeBy)));
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack = nodes.filter((node) => !isRead.has(node)).map((node) => ({ node, done: false }));
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { node, done } = top;
    if (done) order.push(node);
    else if (!seen.has(node)) {
      seen.add(node);
      stack.push({ node, done: true });
      const before = [...new Set(node.inputs.flatMap(madeBy))].sort(
        (a, b) => (place.get(a) ?? 0) - (place.get(b) ?? 0),
      );
      for (const other of before) if (!seen.has(other)) stack.push({ node: other, done: false });
    }
  }
  return order;
}
