/**
 * An engine session without the engine's own types: those name browser types, which are missing when code is compiled
 * against Linnet for Node.
 */
import type { ValueType } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import type { EncodedModel } from '../graph/onnx/writer.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { KeptFeeds } from './kept-memory.ts';

/** A model as the engine takes it. Plain data, so that it can go to a worker. */
export type EngineModel = ModelInMemory | ModelFile;

export interface ModelInMemory extends Pick<EncodedModel, 'bytes' | 'external'> {
  /** The graph's name, for error messages. */
  readonly name: string;
  /** Folder of weight files that are neither in `bytes` nor in `external`. */
  readonly folder?: string;
}

/** A model in a file. Weights in files next to it are mapped into memory, not read. */
export interface ModelFile {
  readonly name: string;
  /** Path of the file. */
  readonly file: string;
}

/** How a session runs. Plain data. */
export interface EngineSettings {
  readonly device: Device;
  /** Threads per op. Undefined lets the engine choose: one per physical core. */
  readonly threads?: number;
  /**
   * Whether threads spin until a run's next op instead of sleeping, which saves waking them for every op. Between runs they
   * sleep either way, so that sessions used in turn do not compete. Default: false.
   */
  readonly spin?: boolean;
  /** Whether results' memory returns to the system after their last read. Default: false. */
  readonly lean?: boolean;
  /** Path for the profile, which the engine extends by a time stamp. Undefined does not profile. */
  readonly profilePrefix?: string;
  /** Path for the model as the engine optimized it. Undefined does not write it. */
  readonly optimizedModelPath?: string;
}

/** Tensors by input or output name. */
export type NamedTensors = Readonly<Record<string, Tensor>>;

/** An open model, in this thread or in a worker. Feeds must already be checked. */
export interface EngineSession {
  /** Whether every run copies its feeds, except kept ones. */
  readonly copiesFeeds: boolean;
  /**
   * @param kept feeds whose memory persists from run to run
   * @throws LinnetError `RUNTIME` if the engine fails.
   */
  run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>>;
  /** Writes the profile; later runs are not profiled. */
  endProfiling(): Promise<void>;
  dispose(): Promise<void>;
}

/** A session with the inputs and outputs its model file declares. */
export interface DescribedSession extends EngineSession {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
}
