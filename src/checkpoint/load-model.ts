/** Loads a whole model from a Hugging Face folder: its description and parameters, checked against each other. */
import { internalError, LinnetError } from '../errors.ts';
import type { FilePlace, Tensor, WeightMap } from '../graph/tensor.ts';
import { type ClassifierModel, describeClassifier, isClassifierConfig } from '../models/classifiers/classifier.ts';
import { describeModel, type Model, requireCausal, requireGenerating } from '../models/families/index.ts';
import type { CausalModel, GeneratingModel, ModelDescription } from '../models/model.ts';
import type { ParameterShapes } from '../nn/parameters.ts';
import { finiteBytes, finiteRows, requireFinite } from './finite.ts';
import { assertTensors, type Checkpoint, openCheckpoint } from './huggingface.ts';
import type { JsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import type { StoredDType } from './safetensors/stored-dtypes.ts';
import { type SaveCheckpointOptions, saveCheckpoint } from './save-checkpoint.ts';
import { type AnyParameter, type StoredParameter, tensorSource } from './stored-parameter.ts';
import type { CodedMatrix, Float32Rows, WeightInfo } from './weight-file.ts';
import { requireKind, requireOptions, requirePath } from '../files/arguments.ts';

/** A model in memory. */
export interface LoadedModel<Described = CausalModel> {
  readonly model: Described;
  /** float32, by name, including optional ones the folder holds; a tied head has no tensor of its own. */
  readonly parameters: WeightMap;
  /** Its folder or file, which also has the tokenizer. */
  readonly path: string;
  /** SHA-256 of configuration and weights, which ties session files to a model. */
  readonly fingerprint: string;
}

/**
 * Loads a model folder.
 * @throws LinnetError `CONFIG` for an unsupported model, `TENSOR` if tensors are missing, surplus, misshapen or not finite,
 *   and errors of `openCheckpoint`
 * @example
 * ```ts
 * const { model, parameters, fingerprint } = await loadModel('runs/augmented');
 * ```
 */
export async function loadModel(dir: string): Promise<LoadedModel<Model>> {
  return await loadDescribed(
    dir,
    describeAs(dir, (model) => model),
  );
}

/** Parses a config.json. A classifier's head is not a surplus tensor: it marks another task. */
function describeAs<Described>(dir: string, kind: (model: Model) => Described): (config: JsonObject) => Described {
  return (config) => {
    if (!isClassifierConfig(config)) return kind(describeModel(config));
    throw classifierRefusal(dir, describeClassifier(config).labels);
  };
}

/** The error for a classifier if the caller needs a model that predicts tokens. */
export function classifierRefusal(dir: string, labels: readonly string[]): LinnetError {
  return new LinnetError(
    'CONFIG',
    `${dir} is a classifier of ${labels.length} labels (${listNames(labels)}) and predicts no tokens; "linnet classify" and open() of ` +
      'the library label texts, "linnet eval accuracy" measures it, "linnet finetune --objective classify" trains it further',
  );
}

/** A model whose parameters stay in its folder, reopened for each read, or once for all reads while held. */
export interface ModelInFolder<Described> extends Omit<LoadedModel<Described>, 'parameters'> {
  readonly weights: Pick<ModelWeights, 'read' | 'rows' | 'place'> &
    Partial<Pick<ModelWeights, 'codes'>> & { hold(): AsyncDisposable };
  /** See `ModelWeights`. */
  readonly names: readonly string[];
}

/**
 * Opens a model or a classifier, by the folder's config, and reads its weights once, to check that they are finite.
 * @param known its fingerprint, if the weights were read before
 * @throws LinnetError like `loadModel`; later `MISMATCH` if the files have changed
 */
export async function openInPlace(dir: string, known?: string): Promise<ModelInFolder<Model | ClassifierModel>> {
  await using first = await openAnyWeights(dir);
  const { model, path, names } = first;
  const fingerprint = known ?? (await first.fingerprint());
  const places = new Map(names.map((name) => [name, first.place(name)]));
  const place = (name: string): FilePlace | undefined => places.get(name);
  const coded = new Map(names.map((name) => [name, first.codes(name)]));
  const hasCodes = [...coded.values()].some((matrix) => matrix !== undefined);
  const openAgain = async (): Promise<ModelWeights<Model | ClassifierModel>> => {
    const again = await openDescribed(dir, () => model);
    if (again.version === first.version) return again;
    await again[Symbol.asyncDispose]();
    throw new LinnetError('MISMATCH', `the weights of ${path} have changed since it was opened; open the model again`);
  };
  let holders = 0;
  let opened: ReturnType<typeof openAgain> | undefined;
  function hold(): AsyncDisposable {
    holders++;
    return {
      async [Symbol.asyncDispose]() {
        if (--holders > 0) return;
        const last = opened;
        opened = undefined;
        await (await last?.catch(() => undefined))?.[Symbol.asyncDispose]();
      },
    };
  }
  async function* through<T>(use: (files: ModelWeights<unknown>) => AsyncIterable<T>) {
    await using _held = hold();
    yield* use(await (opened ??= openAgain()));
  }
  function codes(name: string): CodedMatrix | undefined {
    const matrix = coded.get(name);
    const pieces = (rows?: number) =>
      through((files) => {
        const same = files.codes(name);
        if (same === undefined) throw internalError(`${name} no longer has codes`);
        return same.pieces(rows);
      });
    return matrix && { ...matrix, pieces };
  }
  const weights = {
    place,
    codes: hasCodes ? codes : undefined,
    async read(name: string): Promise<Tensor<'float32'>> {
      await using _held = hold();
      return await (await (opened ??= openAgain())).read(name);
    },
    hold,
    rows: (name: string): Float32Rows => ({
      shape: first.rows(name).shape,
      pieces: through((files) => files.rows(name).pieces),
    }),
  };
  return { model, path, fingerprint, weights, names };
}

/** A model folder's config.json, unchecked. @throws LinnetError like `openCheckpoint` */
export async function readModelConfig(dir: string): Promise<JsonObject> {
  requirePath(dir, 'the folder');
  await using checkpoint = await openCheckpoint(dir);
  return checkpoint.config;
}

/** The parts of a description needed to load its parameters. */
type Loadable = Pick<ModelDescription, 'parameters' | 'optionalParameters' | 'parameterName'>;

/** Loads a folder by a description of its config.json. @throws LinnetError like `loadModel` and `describe` */
export async function loadDescribed<Described extends Loadable>(
  dir: string,
  describe: (config: JsonObject) => Described,
): Promise<LoadedModel<Described>> {
  await using weights = await openDescribed(dir, describe);
  const { model, path } = weights;
  return { model, parameters: await readParameters(weights), path, fingerprint: await weights.fingerprint() };
}

/** All parameters of an open folder, in memory. */
export async function readParameters(weights: Pick<ModelWeights<unknown>, 'names' | 'read'>): Promise<WeightMap> {
  const parameters: WeightMap = new Map();
  for (const name of weights.names) parameters.set(name, await weights.read(name));
  return parameters;
}

/** A model whose parameters are read one by one, for models larger than memory. Dispose of it. */
export interface ModelWeights<Described = Model> extends AsyncDisposable {
  readonly model: Described;
  /** The folder's absolute path. */
  readonly path: string;
  /** Parameters the folder holds: all required ones, and the optional ones present. */
  readonly names: readonly string[];
  /** A parameter in float32, read from the file at every call. */
  read(name: string): Promise<Tensor<'float32'>>;
  /** The same in pieces, like `SafetensorsFile.float32Rows`. */
  rows(name: string): Float32Rows;
  /** All parameters, each read when needed, while the folder is open. */
  readonly parameters: ReadonlyMap<string, StoredParameter>;
  /** See `Checkpoint`. */
  readonly version: string;
  /** Where a parameter lies; see `SafetensorsFile`. */
  place(name: string): FilePlace | undefined;
  /** A matrix in its file's codes; see `WeightFile`. */
  codes(name: string): CodedMatrix | undefined;
  /** See `LoadedModel`; reads all weights once. @throws LinnetError `TENSOR` for a parameter that is not finite */
  fingerprint(): Promise<string>;
}

/**
 * Opens a model folder and checks its tensors' names and shapes; reads none.
 * @throws LinnetError like `loadModel`
 */
export async function openModelWeights(dir: string): Promise<ModelWeights> {
  return await openDescribed(
    dir,
    describeAs(dir, (model) => model),
  );
}

/** `openModelWeights` for models and classifiers. @throws LinnetError like `loadModel`, except for classifiers */
export function openAnyWeights(dir: string): Promise<ModelWeights<Model | ClassifierModel>> {
  return openDescribed<Model | ClassifierModel>(dir, (config) =>
    isClassifierConfig(config) ? describeClassifier(config) : describeModel(config),
  );
}

/** `openModelWeights` for a causal model. @throws LinnetError `CONFIG` for another kind, otherwise like `openModelWeights` */
export async function openCausalWeights(dir: string): Promise<ModelWeights<CausalModel>> {
  return await openDescribed(dir, describeAs(dir, requireCausal));
}

/** Opens a folder by a description of its config.json. @throws LinnetError like `loadModel` and `describe` */
export async function openDescribed<Described extends Loadable>(
  dir: string,
  describe: (config: JsonObject) => Described,
): Promise<ModelWeights<Described>> {
  const checkpoint = await openCheckpoint(dir);
  try {
    const model = describe(checkpoint.config);
    const stored = storedNames(checkpoint, model);
    await dropZeroBiases(stored, model, checkpoint);
    const tensors = new Map([...stored].map(([name, { info }]) => [name, info]));
    const held = heldParameters(model, tensors);
    assertTensors({ path: checkpoint.path, tensors }, held);
    const inFile = (name: string): string => stored.get(name)?.name ?? name;
    const { path } = checkpoint;
    const doubtful = new Set<string>(); // kept: bytes are visited only once
    const finite = new Set<string>(); // layers are read in every step
    const read = async (name: string): Promise<Tensor<'float32'>> =>
      requireFinite(await checkpoint.readFloat32(inFile(name)), inFile(name), path);
    const rows = (name: string): Float32Rows => finiteRows(checkpoint.float32Rows(inFile(name)), inFile(name), path);
    async function* storedPieces(name: string, type: StoredDType): AsyncGenerator<Float32Array | Uint16Array> {
      for await (const { buffer, byteOffset, byteLength } of checkpoint.chunks(inFile(name))) {
        const bytes = new Uint8Array(buffer, byteOffset, byteLength);
        if (!finite.has(name) && !finiteBytes(type, bytes)) await read(name); // throws
        yield type === 'F32'
          ? new Float32Array(buffer, byteOffset, byteLength / 4)
          : new Uint16Array(buffer, byteOffset, byteLength / 2);
      }
      finite.add(name);
    }
    const parameterOf = (name: string, { shape }: { readonly shape: readonly number[] }): StoredParameter => {
      // A tensor without a place is not stored as it is read.
      const type = checkpoint.place(inFile(name)) && stored.get(name)?.info.dtype;
      const pieces = (dtype: StoredDType) => (dtype === type ? storedPieces(name, dtype) : rows(name).pieces);
      return {
        dtype: 'float32',
        shape,
        load: () => read(name),
        isHalf: type === 'F16',
        pieces,
        rows: () => rows(name).pieces,
      };
    };
    return {
      model,
      path,
      names: [...held.keys()],
      parameters: new Map([...held].map(([name, info]) => [name, parameterOf(name, info)])),
      read,
      rows,
      version: checkpoint.version,
      place: (name) => checkpoint.place(inFile(name)),
      codes: (name) => checkpoint.codes(inFile(name)),
      async fingerprint() {
        const fingerprint = await checkpoint.fingerprint((name) => doubtful.add(name));
        for (const name of held.keys()) if (doubtful.has(inFile(name))) await read(name);
        return fingerprint;
      },
      [Symbol.asyncDispose]: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * Loads the folder of a causal language model.
 * @throws LinnetError `CONFIG` for another kind of model, and errors of `loadModel`
 * @example
 * ```ts
 * const { model, parameters } = await loadCausalModel('assets/tiny-llama');
 * ```
 */
export async function loadCausalModel(dir: string): Promise<LoadedModel> {
  return await loadDescribed(dir, describeAs(dir, requireCausal));
}

/**
 * A causal language model without its weights: no parameters and no fingerprint. @throws LinnetError like `loadCausalModel`
 */
export async function loadCausalShapes(dir: string): Promise<LoadedModel> {
  await using weights = await openCausalWeights(dir);
  return { model: weights.model, path: weights.path, parameters: new Map(), fingerprint: '' };
}

/**
 * Loads a folder with a model that generates text: a causal language model, or an encoder-decoder.
 * @throws LinnetError `CONFIG` for another kind of model, and errors of `loadModel`
 */
export async function loadGeneratingModel(dir: string): Promise<LoadedModel<GeneratingModel>> {
  return await loadDescribed(dir, describeAs(dir, requireGenerating));
}

/** A model's required parameters, and the optional ones present. */
function heldParameters(
  model: Pick<ModelDescription, 'parameters' | 'optionalParameters'>,
  found: ReadonlyMap<string, unknown>,
): ParameterShapes {
  const optional = [...(model.optionalParameters ?? [])].filter(([name]) => found.has(name));
  return new Map([...model.parameters, ...optional]);
}

/** A checkpoint's tensors by the model's names. */
function storedNames(checkpoint: Checkpoint, model: Loadable): Map<string, { name: string; info: WeightInfo }> {
  const stored = new Map<string, { name: string; info: WeightInfo }>();
  for (const [name, info] of checkpoint.tensors) {
    const parameter = model.parameterName(name);
    if (parameter === undefined) continue;
    const other = stored.get(parameter);
    if (other !== undefined) {
      throw new LinnetError(
        'TENSOR',
        `${checkpoint.path} holds ${quoteName(other.name)} and ${quoteName(name)}, which are the same parameter; keep one`,
      );
    }
    stored.set(parameter, { name, info });
  }
  return stored;
}

/** Leaves out the zeros that GPTQ's writers store as biases of matrices whose modules have none. */
async function dropZeroBiases(
  stored: Map<string, { name: string; info: WeightInfo }>,
  { parameters }: Loadable,
  checkpoint: Checkpoint,
): Promise<void> {
  for (const [parameter, { name, info }] of stored) {
    if (!parameter.endsWith('.bias') || parameters.has(parameter)) continue;
    const matrix = stored.get(parameter.replace(/bias$/, 'weight'))?.info;
    if (matrix?.dtype.startsWith('gptq') !== true || String(info.shape) !== String(matrix.shape[0])) continue;
    const { data } = await checkpoint.readFloat32(name);
    if (data.every((value) => value === 0)) stored.delete(parameter);
  }
}

/** A model that can be saved; a model for a task may store parameters under other names. */
type Savable = Pick<ModelDescription, 'parameters' | 'optionalParameters' | 'toJson'> & {
  readonly storedName?: (parameter: string) => string;
};

/**
 * Saves a model as a Hugging Face folder, with the tokenizer of another folder or given files. Atomic. Parameters read on
 * demand (`ModelWeights.parameters`) pass one by one; numbers already stored in the requested type are copied.
 * @example
 * ```ts
 * const { model, parameters, path } = await loadModel('assets/tiny-llama');
 * await saveModel('runs/copy', { model, parameters }, { tokenizerFiles: { from: path }, dtype: 'BF16' });
 * ```
 */
export async function saveModel(
  dir: string,
  content: { readonly model: Savable; readonly parameters: ReadonlyMap<string, AnyParameter> },
  options: Pick<SaveCheckpointOptions, 'tokenizerFiles' | 'dtype' | 'replace' | 'complete' | 'signal'> = {},
): Promise<void> {
  requireKind(content, 'what is saved', ['model', 'parameters'], 'a model with its parameters');
  const { model, parameters } = content;
  requirePath(dir, 'the folder');
  requireOptions(options, 'the options of saveModel', { dtype: ['F32', 'F16', 'BF16'] });
  requireKind(model, 'the model', ['parameters', 'toJson'], 'a model');
  requireKind(parameters, 'the parameters', ['get', 'keys'], 'a map of tensors');
  const held = heldParameters(model, parameters);
  const given = new Map([...parameters].filter(([name]) => held.has(name)));
  assertTensors({ path: dir, tensors: given }, held);
  const tensors = [...held.keys()].flatMap((name) => {
    const value = given.get(name);
    if (value === undefined) return [];
    return [{ name: model.storedName?.(name) ?? name, shape: value.shape, data: tensorSource(value, options.dtype) }];
  });
  await saveCheckpoint(dir, { ...options, config: model.toJson(), tensors });
}
