/**
 * A session of the engine, without the engine's own types: those name types of browsers, which are missing when code is
 * compiled against Linnet for Node.
 */
import type { ValueType } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import type { EncodedModel } from '../graph/onnx/writer.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { KeptFeeds } from './kept-memory.ts';

/** A model as the engine takes it. Plain data, so that it can be sent to a worker. */
export type EngineModel = ModelInMemory | ModelFile;

export interface ModelInMemory extends Pick<EncodedModel, 'bytes' | 'external'> {
  /** The graph's name, for error messages. */
  readonly name: string;
  /** Where the files of the weights lie that are neither in `bytes` nor in `external`. */
  readonly folder?: string;
}

/** A model in a file. Weights that lie in files next to it are mapped into memory, not read. */
export interface ModelFile {
  readonly name: string;
  /** Path of the file. */
  readonly file: string;
}

/** How a session runs. Plain data. */
export interface EngineSettings {
  readonly device: Device;
  /** Threads of one op. Undefined leaves it to the engine: one per physical core. */
  readonly threads?: number;
  /**
   * Whether threads wait for the next op of a run in a loop instead of asleep, which saves waking them for every op.
   * Between runs they sleep either way, so that sessions used in turn do not fight. Default: false.
   */
  readonly spin?: boolean;
  /** Whether memory of results goes back to the system as they are read for the last time. Default: false. */
  readonly lean?: boolean;
  /** Where the profile goes: a path that the engine extends by a time stamp. Undefined does not profile. */
  readonly profilePrefix?: string;
  /** Where the engine writes the model as it optimised it. Undefined does not write it. */
  readonly optimizedModelPath?: string;
}

/** Tensors by the names of inputs or outputs. */
export type NamedTensors = Readonly<Record<string, Tensor>>;

/** An open model, in this thread or in a worker. Feeds must have been checked. */
export interface EngineSession {
  /** Whether feeds are copied for every run, but for those that are kept. */
  readonly copiesFeeds: boolean;
  /**
   * @param kept feeds whose memory stays from run to run
   * @throws LinnetError `RUNTIME` if the engine fails.
   */
  run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>>;
  /** Writes the profile; later runs are not profiled. */
  endProfiling(): Promise<void>;
  dispose(): Promise<void>;
}

/** A session with the inputs and outputs that its model file declares. */
export interface DescribedSession extends EngineSession {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
}
