/**
 * The one place that talks to ONNX Runtime: opens a session for an encoded model and runs it. The engine is loaded when
 * the first session opens, the native one in Node and the WebAssembly one for `wasm`.
 */
import type * as NativeEngine from 'onnxruntime-node';
import type { InferenceSession, Tensor as EngineTensor } from 'onnxruntime-node';
import { internalError, LinnetError } from '../errors.ts';
import type { Device } from '../graph/onnx/model.ts';
import type { EncodedModel } from '../graph/onnx/writer.ts';
import type { Tensor } from '../graph/tensor.ts';
import { isDType, tensorFromBytes } from '../graph/tensor-bytes.ts';

/** A model as the engine takes it. Plain data, so that it can be sent to a worker. */
export interface EngineModel extends EncodedModel {
  /** The graph's name, for error messages. */
  readonly name: string;
}

/** How a session runs. Plain data. */
export interface EngineSettings {
  readonly device: Device;
  /** Threads of one op. Undefined leaves it to the engine: one per physical core. */
  readonly threads?: number;
  /** Where the profile goes: a path that the engine extends by a time stamp. Undefined does not profile. */
  readonly profilePrefix?: string;
  /** Where the engine writes the model as it optimised it. Undefined does not write it. */
  readonly optimizedModelPath?: string;
}

/** Tensors by the names of inputs or outputs. */
export type NamedTensors = Readonly<Record<string, Tensor>>;

/** An open model, in this thread or in a worker. Feeds must have been checked. */
export interface EngineSession {
  /** @throws LinnetError `RUNTIME` if the engine fails. */
  run<K extends string>(feeds: NamedTensors, fetch: readonly K[]): Promise<Record<K, Tensor>>;
  /** Writes the profile; later runs are not profiled. */
  endProfiling(): Promise<void>;
  dispose(): Promise<void>;
}

/** The part of ONNX Runtime's API that its Node and web packages share. */
type EngineApi = Pick<typeof NativeEngine, 'InferenceSession' | 'Tensor' | 'env'>;

interface Engine {
  readonly provider: string;
  load(settings: EngineSettings): Promise<EngineApi>;
}

const loadNative = (): Promise<EngineApi> => import('onnxruntime-node');

const engines: Readonly<Record<Device, Engine>> = {
  cpu: { provider: 'cpu', load: loadNative },
  webgpu: { provider: 'webgpu', load: loadNative },
  wasm: {
    provider: 'wasm',
    async load({ threads }) {
      const api: EngineApi = await import('onnxruntime-web');
      // One pool serves all sessions: the engine reads this once, when the first of them opens.
      if (threads !== undefined) api.env.wasm.numThreads = threads;
      return api;
    },
  },
};

/** Names of the devices that a graph can be compiled for. */
export function isDevice(name: string): name is Device {
  return Object.hasOwn(engines, name);
}

/**
 * Opens a session in this thread.
 *
 * @throws LinnetError `RUNTIME` if the engine cannot be loaded or refuses the model.
 */
export async function openSession(model: EngineModel, settings: EngineSettings): Promise<EngineSession> {
  const engine = engines[settings.device];
  try {
    const api = await engine.load(settings);
    api.env.logLevel = 'error';
    const session = await api.InferenceSession.create(model.bytes, {
      ...sessionOptions(settings),
      executionProviders: [engine.provider],
      externalData: model.external.map(({ path, data }) => ({ path, data })),
    });
    return new DirectSession(model.name, session, api.Tensor);
  } catch (error) {
    throw engineError(`graph "${model.name}" cannot be compiled for device "${settings.device}"`, error);
  }
}

function sessionOptions(settings: EngineSettings): InferenceSession.SessionOptions {
  return {
    ...(settings.threads !== undefined && { intraOpNumThreads: settings.threads }),
    executionMode: 'sequential',
    enableCpuMemArena: true,
    logSeverityLevel: 3,
    // Threads that spin after a run would take the cores from other sessions of the process.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
    ...(settings.profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: settings.profilePrefix }),
    ...(settings.optimizedModelPath !== undefined && { optimizedModelFilePath: settings.optimizedModelPath }),
  };
}

class DirectSession implements EngineSession {
  readonly #name: string;
  readonly #session: InferenceSession;
  readonly #EngineTensor: EngineApi['Tensor'];

  constructor(name: string, session: InferenceSession, tensorClass: EngineApi['Tensor']) {
    this.#name = name;
    this.#session = session;
    this.#EngineTensor = tensorClass;
  }

  async run<K extends string>(feeds: NamedTensors, fetch: readonly K[]): Promise<Record<K, Tensor>> {
    const wrapped: Record<string, EngineTensor> = {};
    try {
      for (const [name, { dtype, shape, data }] of Object.entries(feeds)) {
        wrapped[name] = new this.#EngineTensor(dtype, data, shape);
      }
      const results = await this.#session.run(wrapped, fetch);
      const tensors: Record<string, Tensor> = Object.fromEntries(
        fetch.map((name) => [name, hostTensor(name, results[name])]),
      );
      return tensors;
    } catch (error) {
      throw engineError(`graph "${this.#name}" failed to run`, error);
    }
  }

  async endProfiling(): Promise<void> {
    this.#session.endProfiling();
  }

  async dispose(): Promise<void> {
    await this.#session.release();
  }
}

/** A result as a tensor of ours, over the same memory. */
function hostTensor(name: string, result: EngineTensor | undefined): Tensor {
  if (result === undefined) throw internalError(`the engine returned no output "${name}"`);
  const { type, dims, data } = result;
  if (!isDType(type) || !ArrayBuffer.isView(data)) throw internalError(`output "${name}" has type ${type}`);
  return tensorFromBytes(type, dims, data);
}

/** Wraps what the engine threw; errors of ours pass unchanged. */
function engineError(what: string, error: unknown): LinnetError {
  if (error instanceof LinnetError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new LinnetError('RUNTIME', `${what}: ${reason}`, { cause: error });
}
