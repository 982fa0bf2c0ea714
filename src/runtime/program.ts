/** A compiled graph, the same to callers on any thread and device. */
import { LinnetError } from '../errors.ts';
import type { Graph, ValueType } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { KeptFeeds } from './kept-memory.ts';
import type { DescribedSession, EngineSession, NamedTensors } from './session-types.ts';
import { type FeedCheck, feedCheck, type InputSignature, quoteKeys } from './feeds.ts';

/** Cost and size of a compiled program. */
export interface ProgramStatistics {
  /** ONNX nodes before the engine optimises them; undefined for a model that was not compiled here. */
  readonly nodes: number | undefined;
  /** Bytes of the encoded model, weights included. */
  readonly modelBytes: number;
  /** Bytes of weights that a run reads, without tables that it looks rows up in; undefined for a model that was not compiled here. */
  readonly weightBytes?: number;
  /** Time of encoding and of creating the session, in milliseconds. */
  readonly creationMs: number;
}

/** Time that one kind of op took in all profiled runs. */
export interface OpProfile {
  readonly opType: string;
  /** Where it ran: "cpu", "webgpu" …; with device `webgpu`, ops that the device lacks run on the CPU. */
  readonly provider: string;
  /** Runs of the program that were profiled. */
  readonly runs: number;
  /** Executions, over all runs. */
  readonly count: number;
  /** Kernel time of all executions, in milliseconds. */
  readonly ms: number;
}

/** A compiled graph. */
export interface Program extends AsyncDisposable {
  /** The inputs that the outputs depend on, in the order of their declaration. */
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly statistics: ProgramStatistics;
  /** Whether feeds are copied for every run, as in a worker, but for those that are kept. */
  readonly copiesFeeds: boolean;
  /**
   * Computes outputs. Every requested output is copied out of the engine; request no more than needed. Feeds are not copied
   * (in a worker they are) and must not change until the promise settles.
   *
   * @param kept feeds whose memory stays from run to run: where feeds are copied, only the writes since are
   * @throws LinnetError `RUNTIME` if a feed is missing, unknown, or of the wrong dtype or shape, if an output is
   *   unknown, if the engine fails, or after `dispose`.
   */
  run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>>;
  /**
   * Where time went in the runs so far, longest first; ends profiling. For programs compiled with `profile: true`.
   *
   * @throws LinnetError `RUNTIME` if the program was compiled without.
   */
  profile(): Promise<readonly OpProfile[]>;
  /** Waits for pending runs and frees the engine's memory. May be called again. */
  dispose(): Promise<void>;
}

/** Makes a program of a graph, on some engine. */
export type GraphCompiler = (graph: Graph) => Promise<Program>;

/** The feeds that a program has inputs for: a short batch does not reach all parameters, such as α with a single group. */
export function onlyInputs({ inputs }: Pick<Program, 'inputs'>, feeds: NamedTensors): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
}

/** Where the profile of a session comes from. */
export interface ProfileSource {
  /** Reads the engine's records when profiling ended. */
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
    throw new LinnetError('RUNTIME', `graph "${this.#graph}" has been disposed; compile it again`);
  }
}

/**
 * A program over a session of a model that was not compiled here: inputs and outputs are as its file declares.
 *
 * @param statistics known parts of its cost
 */
export function programOf(name: string, session: DescribedSession, statistics: ProgramStatistics): Program {
  const signature = { graph: name, live: session.inputs, unused: new Set<string>() };
  return new SessionProgram(session, signature, session.outputs, statistics, undefined);
}
