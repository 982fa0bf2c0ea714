/**
 * A graph as a chain of smaller graphs between the values it is cut at: run in sequence, they compute the same with only
 * one segment's weights loaded at a time. Segments of one `kind`, such as a model's layers, differ only in their weights:
 * one compiled graph serves them all.
 */
import { Graph, liveNodes, type Node, type Value } from './graph.ts';
import { cast } from './ops/elementwise.ts';
import { formatShape } from './tensor.ts';

/** Types in which weights are read; the graph computes in float32. */
export type ReadType = 'float32' | 'float16';

/** A part of a graph. Its inputs are named by order, so that equal parts have equal graphs. */
export interface Segment {
  readonly graph: Graph;
  /** Equal for equal graphs. */
  readonly kind: string;
  /** Values of the whole graph, inputs or cuts, by the segment's input names. */
  readonly inputs: ReadonlyMap<string, Value>;
  /** Cuts of the whole graph, at most one, by the segment's output names; and its outputs' names. */
  readonly cuts: ReadonlyMap<string, Value>;
  readonly outputs: ReadonlyMap<string, string>;
  /** Values of the segment's graph by its output names. */
  readonly results: ReadonlyMap<string, Value>;
}

/**
 * Segments in running order.
 * @param readTypes of inputs that are weights, by name; other inputs keep their type
 * @param declares whether the segments' graphs declare `results` as outputs
 */
export function segmentsOf(
  whole: Graph,
  readTypes: ReadonlyMap<string, ReadType> = new Map(),
  declares = true,
): Segment[] {
  const cuts = neededCuts(whole);
  const place = new Map(cuts.map((cut, index) => [cut, index]));
  const level = levels(whole, place);
  const constants = new Map<Value, number>();
  return [...cuts, undefined].flatMap((cut, index) => {
    const outputs = [...whole.outputs].filter(([, value]) => level(value) === index);
    if (cut === undefined && outputs.length === 0) return [];
    const before = new Set(cuts.slice(0, index));
    return [segmentOf(whole, { cut, outputs, before, readTypes, constants, declares })];
  });
}

/** Cuts that outputs depend on. */
function neededCuts(whole: Graph): Value[] {
  const live = new Set(liveNodes(whole.outputs.values()));
  return [...whole.cuts].filter(({ origin }) => origin.kind === 'result' && live.has(origin.node));
}

/** The first segment that can compute a value: the one after the last cut it depends on. */
function levels(whole: Graph, place: ReadonlyMap<Value, number>): (value: Value) => number {
  const known = new Map<Node, number>();
  const level = ({ origin }: Value): number => (origin.kind === 'result' ? (known.get(origin.node) ?? 0) : 0);
  for (const node of liveNodes(whole.outputs.values())) {
    known.set(node, Math.max(0, ...node.inputs.map((input) => Math.max(level(input), (place.get(input) ?? -1) + 1))));
  }
  return level;
}

interface Part {
  readonly cut: Value | undefined;
  readonly outputs: readonly (readonly [string, Value])[];
  readonly before: ReadonlySet<Value>;
  readonly readTypes: ReadonlyMap<string, ReadType>;
  /** Numbers of the whole graph's constants, for the kinds' names. */
  readonly constants: Map<Value, number>;
  readonly declares: boolean;
}

function segmentOf(whole: Graph, { cut, outputs, before, readTypes, constants, declares }: Part): Segment {
  const graph = new Graph(`${whole.name}, a part`);
  const targets = [...(cut === undefined ? [] : [cut]), ...outputs.map(([, value]) => value)];
  const copies = new Map<Value, Value>();
  const halves = new Map<Value, Value>();
  const inputs = new Map<string, Value>();
  const words = new Map<Value, string>();
  const kind: string[] = [];
  const leaf = (value: Value): Value => {
    const { origin } = value;
    if (origin.kind === 'constant') {
      if (!constants.has(value)) constants.set(value, constants.size);
      const { dtype, shape, data } = origin.tensor;
      words.set(value, data.length > 16 ? `c${constants.get(value)}` : `${dtype}${formatShape(shape)}=${data.join()}`);
      return graph.constant(origin.tensor);
    }
    const name = `x${inputs.size}`;
    inputs.set(name, value);
    const dtype = origin.kind === 'input' ? (readTypes.get(origin.name) ?? value.dtype) : value.dtype;
    words.set(value, `${name}:${dtype}${formatShape(value.shape)}`);
    const input = graph.input(name, dtype, value.shape);
    if (dtype === value.dtype) return input;
    halves.set(value, input);
    return cast(input, value.dtype);
  };
  const copyOf = (value: Value): Value => {
    const known = copies.get(value);
    if (known !== undefined) return known;
    const made = leaf(value);
    copies.set(value, made);
    return made;
  };
  let nodes = 0;
  for (const node of liveNodes(targets, before)) {
    const made = node.inputs.map(copyOf);
    // Converts a table's rows, not the table.
    const table = node.op === 'gather' ? halves.get(node.inputs[0]) : undefined;
    const results =
      table === undefined
        ? node.again(made)
        : node.again([table, ...made.slice(1)]).map((rows) => cast(rows, node.outputs[0].dtype));
    node.outputs.forEach((output, index) => {
      copies.set(output, results[index]);
      words.set(output, `n${nodes}.${index}`);
    });
    kind.push(
      `${node.op} ${JSON.stringify(node.attributes)} ${node.inputs.map((input) => words.get(input)).join(' ')}`,
    );
    nodes++;
  }
  const named = targets.map((value, index) => [`y${index}`, value] as const);
  const results = new Map(named.map(([name, value]) => [name, copyOf(value)]));
  if (declares) for (const [name, value] of results) graph.output(name, value);
  const first = cut === undefined ? 0 : 1;
  return {
    graph,
    kind: [...kind, named.map(([, value]) => words.get(value)).join(' ')].join('\n'),
    inputs,
    results,
    cuts: new Map(named.slice(0, first)),
    outputs: new Map(named.slice(first).map(([name], index) => [name, outputs[index][0]])),
  };
}
