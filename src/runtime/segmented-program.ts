/**
 * Graphs that run segment by segment (`graph/segments.ts`): only one segment's weights are in memory at a time, and one
 * reading of them serves all given runs.
 */
import { LinnetError, requireRunning, type Watched } from '../errors.ts';
import { type GraphCost, graphCost, valueBytes } from '../graph/cost.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { type ReadType, type Segment, segmentsOf } from '../graph/segments.ts';
import { byteLengthOf, elementCount, type Tensor, tensor } from '../graph/tensor.ts';
import type { NamedTensors } from './compile.ts';
import { type GraphCompiler, onlyInputs, type Program } from './program.ts';

/** A weight that is read when a segment needs it. */
export interface ReadWeight {
  readonly dtype: ReadType;
  readonly shape: readonly number[];
  /** Fills an array of its type and element count. */
  readInto(target: Float32Array | Uint16Array): Promise<void>;
}

/** Weights by the graph's input names. */
export type SegmentWeights = ReadonlyMap<string, Tensor | ReadWeight>;

/** A program's run: its non-weight inputs, and where its results go. */
export interface SegmentRun {
  readonly program: SegmentedProgram;
  readonly feeds: NamedTensors;
}

interface CompiledSegment extends Segment {
  readonly program: Program;
  /** Cuts that no later segment reads. */
  readonly released: readonly Value[];
}

/** Memory of a graph that runs in segments, as far as shapes tell. */
export interface SegmentsCost {
  /** The largest segment's results and weights to read. */
  readonly segmentBytes: number;
  /** Cuts alive at once, per run. */
  readonly cutBytes: number;
  /** Bytes of weights that one pass reads. */
  readonly readBytes: number;
  readonly operations: number;
}

export function segmentsCost(graph: Graph, weights: SegmentWeights): SegmentsCost {
  const segments = segmentsOf(graph, readTypesOf(weights));
  const costs = new Map<string, GraphCost>();
  let [segmentBytes, passBytes, operations] = [0, 0, 0];
  for (const { kind, graph: part, inputs } of segments) {
    const cost = costs.get(kind) ?? graphCost(part);
    costs.set(kind, cost);
    const own = readBytes({ graph: part, inputs }, weights);
    segmentBytes = Math.max(segmentBytes, own + cost.peakBytes + cost.outputBytes);
    passBytes += own;
    operations += cost.operations;
  }
  return { segmentBytes, cutBytes: cutBytes(withReleases(segments)), readBytes: passBytes, operations };
}

/** Bytes of weights to read for a segment. */
export function readBytes({ graph, inputs }: Pick<Segment, 'graph' | 'inputs'>, weights: SegmentWeights): number {
  let bytes = 0;
  for (const [name, { origin }] of inputs) {
    const weight = origin.kind === 'input' ? weights.get(origin.name) : undefined;
    const value = graph.inputs.get(name);
    if (weight !== undefined && !('data' in weight) && value !== undefined) bytes += valueBytes(value);
  }
  return bytes;
}

/** Types of weights to read. */
export function readTypesOf(weights: SegmentWeights): ReadonlyMap<string, ReadType> {
  return new Map([...weights].flatMap(([name, weight]) => ('data' in weight ? [] : [[name, weight.dtype]])));
}

/** Segments, each with the cuts that no later one reads. */
function withReleases<S extends Segment>(segments: readonly S[]): (S & Pick<CompiledSegment, 'released'>)[] {
  const last = new Map(segments.flatMap(({ inputs }, index) => [...inputs.values()].map((value) => [value, index])));
  return segments.map((segment, index) => ({
    ...segment,
    released: [...segment.inputs.values()].filter((value) => last.get(value) === index),
  }));
}

/** Most bytes of cuts alive at once in a run. */
function cutBytes(segments: readonly Pick<CompiledSegment, 'cuts' | 'released'>[]): number {
  let [alive, most] = [0, 0];
  for (const { cuts, released } of segments) {
    for (const value of cuts.values()) alive += valueBytes(value);
    most = Math.max(most, alive);
    for (const value of released) if (value.origin.kind === 'result') alive -= valueBytes(value);
  }
  return most;
}

/** A graph compiled in segments. Dispose of it when done. */
export class SegmentedProgram implements AsyncDisposable {
  readonly segments: readonly CompiledSegment[];
  readonly #programs: ReadonlyMap<string, Program>;

  private constructor(segments: readonly CompiledSegment[], programs: ReadonlyMap<string, Program>) {
    this.segments = segments;
    this.#programs = programs;
  }

  /** @param make compiles a segment. @throws LinnetError like `make` */
  static async create(graph: Graph, weights: SegmentWeights, make: GraphCompiler): Promise<SegmentedProgram> {
    const programs = new Map<string, Program>();
    const compiled: CompiledSegment[] = [];
    try {
      for (const segment of withReleases(segmentsOf(graph, readTypesOf(weights)))) {
        const program = programs.get(segment.kind) ?? (await make(segment.graph));
        programs.set(segment.kind, program);
        compiled.push({ ...segment, program });
      }
    } catch (error) {
      for (const program of programs.values()) await program.dispose();
      throw error;
    }
    return new SegmentedProgram(compiled, programs);
  }

  /** Number of compiled graphs: one per kind of segment. */
  get kinds(): number {
    return this.#programs.size;
  }

  /** Most bytes of cuts alive at once in a run. */
  get cutBytes(): number {
    return cutBytes(this.segments);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs.values()) await program.dispose();
  }
}

/** How to run segments. */
export interface SegmentOptions extends Watched {
  /** Receives a segment's outputs for a run as soon as they exist; without it `runSegments` returns them. */
  readonly take?: (run: number, outputs: NamedTensors) => Promise<void>;
}

/**
 * Runs programs side by side: all first segments, then all second ones, …
 * @param weights or memory for them that several calls share
 * @returns the outputs of every run
 * @throws LinnetError `TENSOR` for a missing weight, `ABORTED` between two runs of a segment
 */
export async function runSegments(
  runs: readonly SegmentRun[],
  weights: SegmentWeights | WeightMemory,
  { signal, onProgress, take }: SegmentOptions = {},
): Promise<Record<string, Tensor>[]> {
  const states = runs.map(() => ({ cuts: new Map<Value, Tensor>(), outputs: new Map<string, Tensor>() }));
  const total = runs.reduce((sum, { program }) => sum + program.segments.length, 0);
  const memory = weights instanceof WeightMemory ? weights : new WeightMemory(weights);
  let done = 0;
  const most = Math.max(0, ...runs.map(({ program }) => program.segments.length));
  const indices = Array.from({ length: most }, (_, index) => index);
  memory.reserve(indices.map((index) => runs.flatMap(({ program }) => program.segments.slice(index, index + 1))));
  for (const index of indices) {
    const ready = runs.flatMap(({ program, feeds }, run) => {
      const segment = program.segments.at(index);
      return segment === undefined ? [] : [{ run, segment, feeds, state: states[run] }];
    });
    const read = await memory.read(ready.map(({ segment }) => segment));
    for (const { run, segment, feeds, state } of ready) {
      requireRunning(signal, `after ${done} of ${total} runs of segments`);
      const { program, cuts, outputs, released } = segment;
      const given = segmentFeeds(segment, state.cuts, feeds, read);
      const results = await program.run(onlyInputs(program, given), [...cuts.keys(), ...outputs.keys()]);
      for (const value of released) state.cuts.delete(value);
      for (const [name, cut] of cuts) state.cuts.set(cut, results[name]);
      const ended = [...outputs].map(([name, output]) => [output, results[name]] as const);
      if (take === undefined) for (const [output, value] of ended) state.outputs.set(output, value);
      else await take(run, Object.fromEntries(ended));
      onProgress?.(++done, total);
    }
  }
  return states.map(({ outputs }) => Object.fromEntries(outputs));
}

/** A segment's inputs by its own names. @throws LinnetError `TENSOR` for a missing one */
export function segmentFeeds(
  { inputs }: Pick<Segment, 'inputs'>,
  cuts: ReadonlyMap<Value, Tensor>,
  feeds: NamedTensors,
  weights: ReadonlyMap<string, Tensor>,
): Record<string, Tensor> {
  return Object.fromEntries([...inputs].map(([name, value]) => [name, valueOf(value, cuts, feeds, weights)]));
}

function valueOf(
  value: Value,
  cuts: ReadonlyMap<Value, Tensor>,
  feeds: NamedTensors,
  weights: ReadonlyMap<string, Tensor>,
): Tensor {
  const { origin } = value;
  const found =
    origin.kind === 'input'
      ? (weights.get(origin.name) ?? (Object.hasOwn(feeds, origin.name) ? feeds[origin.name] : undefined))
      : cuts.get(value);
  if (found !== undefined) return found;
  const name = origin.kind === 'input' ? `"${origin.name}"` : 'a result of an earlier segment';
  throw new LinnetError('TENSOR', `${name} is missing`);
}

/** Segments that run side by side: their weights are read together. */
type Reading = readonly Pick<Segment, 'inputs'>[];

/** Weights begin at multiples of this. */
const alignment = 64;

/** The weights of one reading at a time, always in the same memory: separate memory would wait for the garbage collector. */
export class WeightMemory {
  readonly #weights: SegmentWeights;
  #memory = new ArrayBuffer(0);

  constructor(weights: SegmentWeights) {
    this.#weights = weights;
  }

  /** Makes room for the largest of these readings. */
  reserve(readings: readonly Reading[]): void {
    const most = Math.max(...readings.map((reading) => this.#placesOf(reading).bytes));
    if (this.#memory.byteLength < most) this.#memory = new ArrayBuffer(most);
  }

  /** Valid until the next reading. */
  async read(reading: Reading): Promise<ReadonlyMap<string, Tensor>> {
    this.reserve([reading]);
    const { read, places } = this.#placesOf(reading);
    for (const { name, weight, offset } of places) {
      const count = elementCount(weight.shape);
      const data =
        weight.dtype === 'float16'
          ? new Uint16Array(this.#memory, offset, count)
          : new Float32Array(this.#memory, offset, count);
      await weight.readInto(data);
      read.set(name, tensorOf(weight.shape, data));
    }
    return read;
  }

  #placesOf(reading: Reading) {
    const read = new Map<string, Tensor>();
    const places = new Map<string, { readonly name: string; readonly weight: ReadWeight; readonly offset: number }>();
    let bytes = 0;
    for (const { origin } of reading.flatMap(({ inputs }) => [...inputs.values()])) {
      const weight = origin.kind === 'input' ? this.#weights.get(origin.name) : undefined;
      if (origin.kind !== 'input' || weight === undefined) continue;
      const { name } = origin;
      if ('data' in weight) read.set(name, weight);
      else if (!places.has(name)) {
        places.set(name, { name, weight, offset: bytes });
        bytes += Math.ceil(byteLengthOf(weight) / alignment) * alignment;
      }
    }
    return { read, places: [...places.values()], bytes };
  }
}

function tensorOf(shape: readonly number[], data: Float32Array | Uint16Array): Tensor {
  return data instanceof Float32Array ? tensor('float32', shape, data) : tensor('float16', shape, data);
}
