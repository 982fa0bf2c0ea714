/**
 * Gradients of a loss segment by segment: a pass forwards keeps the values at the cuts, a pass backwards computes each segment anew
 * and differentiates it. Frozen weights are read when their segment runs, and get no gradients.
 */
import { internalError } from '../errors.ts';
import { type GraphCost, graphCost, valueBytes } from '../graph/cost.ts';
import { vectorJacobian } from '../graph/gradients.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { type Segment, segmentsOf } from '../graph/segments.ts';
import { dataOf, float32, type Tensor, type WeightMap, type Weights } from '../graph/tensor.ts';
import type { NamedTensors } from '../runtime/compile.ts';
import { type GraphCompiler, onlyInputs, type Program } from '../runtime/program.ts';
import {
  readBytes,
  readTypesOf,
  segmentFeeds,
  type SegmentWeights,
  WeightMemory,
} from '../runtime/segmented-program.ts';

/** The gradient of the cut that a segment computes, among its inputs; and of an input, among its outputs. */
const upstream = 'upstream';
const gradientOf = (name: string): string => `gradient of ${name}`;

interface DifferentiatedSegment {
  /** Computes the cut from earlier cuts; undefined for the loss, computed in the backward pass. */
  readonly forward: Segment | undefined;
  /** Computes gradients of `wanted` inputs, trained ones and cuts that depend on some; undefined if there are none. */
  readonly backward: Segment | undefined;
  readonly wanted: readonly (readonly [string, Value])[];
  /** Equal for segments whose graphs backwards are equal. */
  readonly kind: string;
}

/** @param trained names of the inputs of `loss` whose gradients are wanted */
function differentiated(
  loss: Graph,
  trained: ReadonlySet<string>,
  weights: SegmentWeights,
): readonly DifferentiatedSegment[] {
  const types = readTypesOf(weights);
  const forwards = segmentsOf(loss, types);
  const depends = new Set<Value>();
  return segmentsOf(loss, types, false).map((segment, index) => {
    const { graph, inputs, cuts, results, kind } = segment;
    const forward = cuts.size > 0 ? forwards[index] : undefined;
    const wanted = [...inputs].filter(
      ([, value]) => depends.has(value) || (value.origin.kind === 'input' && trained.has(value.origin.name)),
    );
    if (wanted.length === 0) return { forward, backward: undefined, wanted, kind };
    for (const cut of cuts.values()) depends.add(cut);
    const [result] = results.values();
    const seed =
      forward === undefined
        ? graph.constant(float32(result.shape.map(Number), [1]))
        : graph.input(upstream, 'float32', result.shape);
    if (forward === undefined) graph.output('y0', result);
    const values = wanted.map(([name]) => graph.inputs.get(name) ?? result);
    const gradients = vectorJacobian([result], [seed], values);
    for (const [place, [name]] of wanted.entries()) graph.output(gradientOf(name), gradients[place]);
    return { forward, backward: segment, wanted, kind: `${kind} ${wanted.map(([name]) => name).join()}` };
  });
}

/** Memory and operations of a loss and its gradients over some batches, which share the readings of weights. */
export function segmentedGradientsCost(
  loss: Graph,
  trained: ReadonlySet<string>,
  weights: SegmentWeights,
  batches: number,
): { readonly bytes: number; readonly operations: number } {
  const known = new Map<string, GraphCost>();
  const costOf = (kind: string, graph: Graph): GraphCost => {
    const cost = known.get(kind) ?? graphCost(graph);
    known.set(kind, cost);
    return cost;
  };
  let [largest, kept, operations] = [0, 0, 0];
  for (const { forward, backward, kind } of differentiated(loss, trained, weights)) {
    const parts = [
      ...(forward === undefined ? [] : [[`forward ${forward.kind}`, forward] as const]),
      ...(backward === undefined ? [] : [[`backward ${kind}`, backward] as const]),
    ];
    for (const [name, segment] of parts) {
      const cost = costOf(name, segment.graph);
      largest = Math.max(largest, readBytes(segment, weights) + cost.peakBytes + cost.outputBytes);
      operations += batches * cost.operations;
    }
    for (const cut of forward?.cuts.values() ?? []) kept += valueBytes(cut);
  }
  return { bytes: largest + batches * kept, operations };
}

/** Compiled passes forwards and backwards. Dispose of it. */
export type SegmentedGradients = Awaited<ReturnType<typeof compileSegmentedGradients>>;

/**
 * @param loss a graph with one output, a scalar
 * @param trained names of the inputs whose gradients are computed
 */
export async function compileSegmentedGradients(
  loss: Graph,
  trained: ReadonlySet<string>,
  weights: SegmentWeights,
  compile: GraphCompiler,
) {
  const segments = differentiated(loss, trained, weights);
  const programs = new Map<string, Program>();
  const dispose = async (): Promise<void> => {
    for (const program of programs.values()) await program.dispose();
  };
  try {
    for (const { forward, backward, kind } of segments) {
      if (forward !== undefined && !programs.has(forward.kind)) {
        programs.set(forward.kind, await compile(forward.graph));
      }
      const name = backwardName(kind);
      if (backward !== undefined && !programs.has(name)) programs.set(name, await compile(backward.graph));
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  const memory = new WeightMemory(weights);
  memory.reserve(
    segments.flatMap(({ forward, backward }) => [forward ?? [], backward ?? []].flat()).map((one) => [one]),
  );
  const programOf = (kind: string): Program => {
    const program = programs.get(kind);
    if (program === undefined) throw internalError('a segment was not compiled');
    return program;
  };
  return {
    /** Sums of the batches' losses and gradients, by trained input; inputs that no loss depends on are missing. */
    async gradients(batches: readonly NamedTensors[]): Promise<{ readonly loss: number; readonly gradients: Weights }> {
      const states = batches.map((feeds) => ({
        feeds,
        cuts: new Map<Value, Tensor>(),
        upstream: new Map<Value, Tensor<'float32'>>(),
      }));
      for (const { forward } of segments) {
        if (forward === undefined) continue;
        const read = await memory.read([forward]);
        const program = programOf(forward.kind);
        for (const { feeds, cuts } of states) {
          const given = onlyInputs(program, segmentFeeds(forward, cuts, feeds, read));
          const results = await program.run(given, [...forward.cuts.keys()]);
          for (const [name, cut] of forward.cuts) cuts.set(cut, results[name]);
        }
      }
      const gradients: WeightMap = new Map();
      let loss = 0;
      for (const { forward, backward, wanted, kind } of segments.toReversed()) {
        if (backward === undefined) continue;
        const read = await memory.read([backward]);
        const program = programOf(backwardName(kind));
        const [cut] = backward.cuts.values();
        for (const { feeds, cuts, upstream: above } of states) {
          const given = { ...segmentFeeds(backward, cuts, feeds, read) };
          const own = cut && above.get(cut);
          if (own !== undefined) given[upstream] = own;
          const fetch = wanted.map(([name]) => gradientOf(name)).filter((name) => program.outputs.has(name));
          const asked = forward === undefined ? ['y0', ...fetch] : fetch;
          const results = await program.run(onlyInputs(program, given), asked);
          if (forward === undefined) loss += Number(results.y0.data[0]);
          for (const [name, value] of wanted) {
            const gradient = results[gradientOf(name)];
            if (value.origin.kind === 'input') addTo(gradients, value.origin.name, gradient);
            else addTo(above, value, gradient);
          }
          if (cut !== undefined) {
            above.delete(cut);
            cuts.delete(cut);
          }
        }
      }
      return { loss, gradients };
    },
    [Symbol.asyncDispose]: dispose,
  };
}

function backwardName(kind: string): string {
  return `backward ${kind}`;
}

/** Sums in float32, in the order of the batches. */
function addTo<Key>(sums: Map<Key, Tensor<'float32'>>, key: Key, value: Tensor): void {
  const data = dataOf(value, 'float32');
  const sum = sums.get(key);
  if (sum === undefined) sums.set(key, { dtype: 'float32', shape: value.shape, data });
  else sums.set(key, { ...sum, data: sum.data.map((x, i) => x + data[i]) });
}
