/**
 * A compiled graph, the same for callers on any thread and device. Checks feeds, so that mistakes are named before they
 * reach the engine.
 */
import { LinnetError } from '../errors.ts';
import type { Graph, ValueType } from '../graph/graph.ts';
import { type Dim, type Tensor, elementCount, formatShape, splitTerms } from '../graph/tensor.ts';
import type { KeptFeeds } from './kept-memory.ts';
import type { DescribedSession, EngineSession, NamedTensors } from './session-types.ts';

/** A compiled program's cost and size. */
export interface ProgramStatistics {
  /** ONNX nodes before the engine optimizes them; undefined for a model that was not compiled here. */
  readonly nodes: number | undefined;
  /** Bytes of the encoded model, including weights. */
  readonly modelBytes: number;
  /** Bytes of weights that a run reads, without lookup tables; undefined for a model that was not compiled here. */
  readonly weightBytes?: number;
  /** Time to encode and create the session, in milliseconds. */
  readonly creationMs: number;
}

/** Time spent in one kind of op over all profiled runs. */
export interface OpProfile {
  readonly opType: string;
  /** Where it ran: "cpu", "webgpu" …; with device `webgpu`, unsupported ops run on the CPU. */
  readonly provider: string;
  /** Profiled runs of the program. */
  readonly runs: number;
  /** Executions, over all runs. */
  readonly count: number;
  /** Kernel time of all executions, in milliseconds. */
  readonly ms: number;
}

/** A compiled graph. */
export interface Program extends AsyncDisposable {
  /** The inputs that the outputs depend on, in order of declaration. */
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly statistics: ProgramStatistics;
  /** Whether every run copies its feeds, as in a worker, except kept ones. */
  readonly copiesFeeds: boolean;
  /**
   * Computes outputs. Every requested output is copied out of the engine, so request no more than needed. Feeds are copied
   * only in a worker and must not change until the promise settles.
   *
   * @param kept feeds whose memory persists from run to run: if feeds are copied, only the writes since are
   * @throws LinnetError `RUNTIME` if a feed is missing, unknown, or of the wrong dtype or shape, if an output is unknown,
   *   if the engine fails, or after `dispose`.
   */
  run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>>;
  /**
   * Where time went in the runs so far, longest first; ends profiling. Only for programs compiled with `profile: true`.
   *
   * @throws LinnetError `RUNTIME` otherwise.
   */
  profile(): Promise<readonly OpProfile[]>;
  /** Waits for pending runs and frees the engine's memory. Can be called again. */
  dispose(): Promise<void>;
}

/** Makes a graph's program, on some engine. */
export type GraphCompiler = (graph: Graph) => Promise<Program>;

/** Resolves after the pending events: lets others run between runs that may block the calling thread. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => {
    // Browsers have no setImmediate.
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else setTimeout(resolve, 0);
  });
}

/** The feeds that a program has inputs for: a short batch does not use all parameters, such as α with a single group. */
export function onlyInputs({ inputs }: Pick<Program, 'inputs'>, feeds: NamedTensors): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
}

/** Where a session's profile comes from. */
export interface ProfileSource {
  /** Reads the engine's records once profiling has ended. */
  read(): Promise<readonly OpProfile[]>;
  dispose(): Promise<void>;
}

/** A program over a session. */
export class SessionProgram implements Program {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly statistics: ProgramStatistics;
  readonly copiesFeeds: boolean;
  readonly #graph: string;
  readonly #check: FeedCheck;
  readonly #session: EngineSession;
  readonly #profileSource: ProfileSource | undefined;
  readonly #running = new Set<Promise<unknown>>();
  #profile: Promise<readonly OpProfile[]> | undefined;
  #disposal: Promise<void> | undefined;

  constructor(
    session: EngineSession,
    signature: InputSignature,
    outputs: ReadonlyMap<string, ValueType>,
    statistics: ProgramStatistics,
    profileSource: ProfileSource | undefined,
  ) {
    this.inputs = signature.live;
    this.outputs = outputs;
    this.statistics = statistics;
    this.copiesFeeds = session.copiesFeeds;
    this.#graph = signature.graph;
    this.#check = feedCheck(signature);
    this.#session = session;
    this.#profileSource = profileSource;
  }

  async run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>> {
    this.#assertOpen();
    if (fetch.length === 0) throw new LinnetError('RUNTIME', `graph "${this.#graph}": no output is requested`);
    for (const name of fetch) {
      if (!this.outputs.has(name)) {
        throw new LinnetError(
          'RUNTIME',
          `graph "${this.#graph}" has no output "${name}"; its outputs are ${quoteKeys(this.outputs)}`,
        );
      }
    }
    const running = this.#session.run(this.#check(feeds), fetch, kept);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  profile(): Promise<readonly OpProfile[]> {
    this.#profile ??= this.#endProfiling();
    return this.#profile;
  }

  dispose(): Promise<void> {
    this.#disposal ??= this.#close();
    return this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #endProfiling(): Promise<readonly OpProfile[]> {
    this.#assertOpen();
    const source = this.#profileSource;
    if (source === undefined) {
      throw new LinnetError('RUNTIME', `graph "${this.#graph}" was compiled without "profile: true"`);
    }
    await Promise.allSettled(this.#running);
    await this.#session.endProfiling();
    return source.read();
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#running, this.#profile]);
    await this.#session.dispose();
    await this.#profileSource?.dispose();
  }

  #assertOpen(): void {
    if (this.#disposal === undefined) return;
    throw new LinnetError(
      'RUNTIME',
      `graph "${this.#graph}" has been disposed, perhaps with its model; dispose of it after its last run`,
    );
  }
}

/**
 * A program over a session whose model was not compiled here: its file declares inputs and outputs.
 *
 * @param statistics the known parts of its cost
 */
export function programOf(name: string, session: DescribedSession, statistics: ProgramStatistics): Program {
  const signature = { graph: name, live: session.inputs, unused: new Set<string>() };
  return new SessionProgram(session, signature, session.outputs, statistics, undefined);
}

/** A program's inputs. */
export interface InputSignature {
  readonly graph: string;
  /** Inputs that the outputs depend on: required feeds. */
  readonly live: ReadonlyMap<string, ValueType>;
  /** Declared inputs that no output depends on: may be fed, and are ignored. */
  readonly unused: ReadonlySet<string>;
}

/** Returns the feeds that the engine needs. */
type FeedCheck = (feeds: NamedTensors) => NamedTensors;

/**
 * A check for every run's feeds, which throws a LinnetError `RUNTIME` if an input is missing, unknown, or has another dtype
 * or shape than declared. A named dimension must have one size in all of a run's feeds.
 */
export function feedCheck(signature: InputSignature): FeedCheck {
  const { graph, live, unused } = signature;
  const inputs = [...live];
  const compounds = inputs.flatMap(([name, { shape }]) =>
    shape.flatMap((dim) => (typeof dim === 'string' && /[+*]/.test(dim) ? { name, dim, parts: partsOf(dim) } : [])),
  );
  const requireKnown = (feeds: NamedTensors): void => {
    const unknown = Object.keys(feeds).find((name) => !live.has(name) && !unused.has(name));
    if (unknown === undefined) return;
    throw new LinnetError('RUNTIME', `graph "${graph}" has no input "${unknown}"; its inputs are ${quoteKeys(live)}`);
  };
  return (feeds) => {
    const sizes = new Map<Dim, number>();
    for (const [name, type] of inputs) {
      const feed = Object.hasOwn(feeds, name) ? feeds[name] : undefined;
      if (feed !== undefined && fits(feed, type, sizes)) continue;
      requireKnown(feeds);
      throw feed === undefined
        ? new LinnetError('RUNTIME', `graph "${graph}" needs input "${name}" (${type.dtype}${formatShape(type.shape)})`)
        : misfit(signature, name, feed, sizes);
    }
    for (const { name, dim, parts } of compounds) {
      const [size, expected] = [sizes.get(dim), sizeOf(parts, sizes)];
      if (expected === undefined || expected === size) continue;
      throw new LinnetError(
        'RUNTIME',
        `input "${name}" of graph "${graph}" has ${size} along "${dim}", which is ${expected} by the other inputs`,
      );
    }
    if (Object.keys(feeds).length === inputs.length) return feeds;
    requireKnown(feeds);
    return Object.fromEntries(inputs.map(([name]) => [name, feeds[name]]));
  };
}

/** A size, a name, or the sum or product of others. */
type DimParts = number | string | { readonly sign: '+' | '*'; readonly parts: readonly DimParts[] };

/** Reads a dimension such as "R+T" or "(R+T)*2" (`graph/shape` writes them) once, for all runs. */
function partsOf(dim: string): DimParts {
  for (const sign of ['+', '*'] as const) {
    const parts = splitTerms(dim, sign);
    if (parts.length > 1) return { sign, parts: parts.map(partsOf) };
  }
  if (dim.startsWith('(') && dim.endsWith(')')) return partsOf(dim.slice(1, -1));
  return /^\d+$/.test(dim) ? Number(dim) : dim;
}

/** A dimension's size from its names' sizes; undefined if one is unknown. */
function sizeOf(dim: DimParts, sizes: ReadonlyMap<Dim, number>): number | undefined {
  if (typeof dim === 'number') return dim;
  if (typeof dim === 'string') return sizes.get(dim);
  let result = dim.sign === '+' ? 0 : 1;
  for (const part of dim.parts) {
    const size = sizeOf(part, sizes);
    if (size === undefined) return undefined;
    result = dim.sign === '+' ? result + size : result * size;
  }
  return result;
}

/** Whether a feed has its input's type. @param sizes by name; new names are added */
function fits({ dtype, shape, data }: Tensor, type: ValueType, sizes: Map<Dim, number>): boolean {
  if (dtype !== type.dtype || shape.length !== type.shape.length || data.length !== elementCount(shape)) return false;
  for (let axis = 0; axis < shape.length; axis++) {
    const dim = type.shape[axis];
    const expected = typeof dim === 'number' ? dim : sizes.get(dim);
    if (expected === undefined) sizes.set(dim, shape[axis]);
    else if (expected !== shape[axis]) return false;
  }
  return true;
}

/** Why a feed does not have its input's type. @param sizes as `fits` left them */
function misfit(
  { graph, live }: InputSignature,
  name: string,
  feed: Tensor,
  sizes: ReadonlyMap<Dim, number>,
): LinnetError {
  const { dtype, shape, data } = feed;
  const type = live.get(name) ?? feed;
  let reason = '';
  if (dtype === type.dtype && shape.length === type.shape.length) {
    const expected = type.shape.map((dim) => (typeof dim === 'number' ? dim : sizes.get(dim)));
    const dim = type.shape[expected.findIndex((size, axis) => size !== shape[axis])];
    if (data.length !== elementCount(shape)) reason = `, and its data has ${data.length} elements`;
    else if (typeof dim === 'string') {
      const [first = name] = [...live.keys()].filter((input) => live.get(input)?.shape.includes(dim));
      reason = `: "${dim}" is ${sizes.get(dim)} in input "${first}"`;
    }
  }
  return new LinnetError(
    'RUNTIME',
    `input "${name}" of graph "${graph}" is ${dtype}${formatShape(shape)}, ` +
      `expected ${type.dtype}${formatShape(type.shape)}${reason}`,
  );
}

/** Names in quotes, for messages. */
function quoteKeys(names: ReadonlyMap<string, unknown>): string {
  return names.size === 0 ? 'none' : [...names.keys()].map((name) => `"${name}"`).join(', ');
}
