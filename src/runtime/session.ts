/**
 * A session of ONNX Runtime: opens an encoded model and runs it. The caller chooses the build of ONNX Runtime: `engine.ts`
 * has Node's, `web-engine.ts` the browsers'. Nothing here depends on a platform.
 */
import type { env, InferenceSession, InferenceSessionFactory, Tensor as EngineTensor } from 'onnxruntime-node';
import { internalError, LinnetError, reasonOf } from '../errors.ts';
import type { ValueType } from '../graph/graph.ts';
import type { DescribedSession, EngineModel, EngineSettings, NamedTensors } from './session-types.ts';
import { type DType, isDType, type Tensor, tensorFromBytes } from '../graph/tensor.ts';

/** The part of ONNX Runtime's API that its Node and web packages share. */
export interface EngineApi {
  readonly InferenceSession: Pick<InferenceSessionFactory, 'create'>;
  readonly Tensor: typeof EngineTensor;
  readonly env: typeof env;
}

/** A build of ONNX Runtime, for one device. */
export interface EngineBuild {
  /** ONNX Runtime's name for the device. */
  readonly provider: string;
  readonly load: (settings: EngineSettings) => Promise<EngineApi>;
  /** Whether the model's 8-bit products would saturate with signed weights. Default: none do. */
  readonly needsUnsignedWeights?: (model: EngineModel) => Promise<boolean>;
}

/**
 * Opens a session in this thread.
 * @throws LinnetError `RUNTIME` if the engine cannot be loaded or refuses the model.
 */
export async function openSessionOf(
  { provider, load, needsUnsignedWeights }: EngineBuild,
  model: EngineModel,
  settings: EngineSettings,
): Promise<DescribedSession> {
  try {
    const api = await load(settings);
    api.env.logLevel = 'error';
    const unsignedWeights = (await needsUnsignedWeights?.(model)) ?? false;
    const folder = 'folder' in model ? model.folder : undefined;
    const options = { ...sessionOptions(settings, unsignedWeights, folder), executionProviders: [provider] };
    const session = await ('file' in model
      ? api.InferenceSession.create(model.file, options)
      : api.InferenceSession.create(model.bytes, {
          ...options,
          externalData: model.external.map(({ path, data }) => ({ path, data })),
        }));
    return new DirectSession(model.name, session, api.Tensor);
  } catch (error) {
    throw engineError(`graph "${model.name}" cannot be compiled for device "${settings.device}"`, error);
  }
}

function sessionOptions(
  settings: EngineSettings,
  unsignedWeights: boolean,
  folder: string | undefined,
): InferenceSession.SessionOptions {
  return {
    ...(settings.threads !== undefined && { intraOpNumThreads: settings.threads }),
    executionMode: 'sequential',
    // A second run's plan (its pattern) lies next to the first run's pieces in the arena, which keeps both.
    enableCpuMemArena: settings.lean !== true,
    ...(settings.lean === true && { enableMemPattern: false }),
    logSeverityLevel: 3,
    // Threads that spin after a run would take the cores from the process's other sessions.
    extra: {
      session: {
        intra_op: { allow_spinning: settings.spin === true ? '1' : '0' },
        force_spinning_stop: '1',
        ...(unsignedWeights && { x64quantprecision: '1' }),
        ...(folder !== undefined && { model_external_initializers_file_folder_path: folder }),
      },
    },
    ...(settings.profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: settings.profilePrefix }),
    ...(settings.optimizedModelPath !== undefined && { optimizedModelFilePath: settings.optimizedModelPath }),
  };
}

class DirectSession implements DescribedSession {
  readonly copiesFeeds = false;
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #name: string;
  readonly #session: InferenceSession;
  readonly #EngineTensor: EngineApi['Tensor'];

  constructor(name: string, session: InferenceSession, tensorClass: EngineApi['Tensor']) {
    this.inputs = valueTypes(session.inputMetadata);
    this.outputs = valueTypes(session.outputMetadata);
    this.#name = name;
    this.#session = session;
    this.#EngineTensor = tensorClass;
  }

  async run<K extends string>(feeds: NamedTensors, fetch: readonly K[]): Promise<Record<K, Tensor>> {
    const wrapped: Record<string, EngineTensor> = {};
    const tensors: Record<string, Tensor> = {};
    try {
      // Not through the feeds' entries, whose list takes ten times as long to make.
      for (const name of this.#session.inputNames) {
        const { dtype, shape, data } = feeds[name];
        wrapped[name] = new this.#EngineTensor(dtype, data, shape);
      }
      const results = await this.#session.run(wrapped, fetch);
      for (const name of fetch) tensors[name] = hostTensor(name, this.outputs.get(name)?.dtype, results[name]);
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

/** A model's inputs or outputs by name, without types that we have no tensors for. */
function valueTypes(declared: readonly InferenceSession.ValueMetadata[]): ReadonlyMap<string, ValueType> {
  const types = new Map<string, ValueType>();
  for (const value of declared) {
    if (value.isTensor && isDType(value.type)) types.set(value.name, { dtype: value.type, shape: value.shape });
  }
  return types;
}

/** A result as our tensor, over the same memory. */
function hostTensor(name: string, dtype: DType | undefined, result: EngineTensor | undefined): Tensor {
  if (result === undefined) throw internalError(`the engine returned no output "${name}"`);
  const { type, dims, data } = result;
  if (dtype !== type || !ArrayBuffer.isView(data)) throw internalError(`output "${name}" has type ${type}`);
  return tensorFromBytes(dtype, dims, data);
}

/** Wraps an engine error; our own errors pass unchanged. */
function engineError(what: string, error: unknown): LinnetError {
  if (error instanceof LinnetError) return error;
  return new LinnetError('RUNTIME', `${what}: ${reasonOf(error)}`, { cause: error });
}
