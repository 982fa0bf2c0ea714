/** An exported folder with its parameters in reach: what a page trains further. */
import { encodeSafetensors } from '../checkpoint/safetensors/encoding.ts';
import { compileDecoding } from '../decoding/compile-decoding.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { exportedModel } from '../export/assemble.ts';
import { exportedParameters, type GraphFile } from '../export/exported-parameters.ts';
import { dataFileOf, exportedFiles } from '../export/manifest.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compileForWeb } from '../runtime/web-compile.ts';
import type { WebEngineSettings } from '../runtime/web-engine.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { openTokenizer, type OpenModelOptions } from './open-model.ts';
import { fetchFiles, openRemoteExport } from './remote-export.ts';

/** A model that predicts the next token, with its parameters in memory. */
export interface TrainableModel {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  readonly tokenizer: Tokenizer;
}

/**
 * Fetches the parameters of an exported folder, which has to be one of type f32.
 *
 * @param url of the folder, absolute or relative to the page
 * @param options as of `open`; with the same `cache`, nothing that it holds is downloaded again
 * @throws LinnetError as `open` for a folder that cannot be fetched or is malformed; `CONFIG` for one of another type, or a
 *   model that does not predict the next token; `NOT_FOUND` without a tokenizer
 * @example
 * ```ts
 * const trainable = await openTrainable('/model/');
 * ```
 */
export async function openTrainable(
  url: string | URL,
  { cache, fetch, signal, onProgress }: Pick<OpenModelOptions, 'cache' | 'fetch' | 'signal' | 'onProgress'> = {},
): Promise<TrainableModel> {
  const remote = await openRemoteExport(url, { cache, fetch, signal, onProgress });
  const { folder, manifest, label } = remote;
  if (manifest.dtype !== 'f32') {
    throw new LinnetError(
      'CONFIG',
      `${folder.url.href} is exported as ${manifest.dtype}; training needs an export of type f32`,
    );
  }
  const { files } = manifest;
  const graphFiles = [...new Set([exportedFiles.model, ...Object.values(manifest.folds)])];
  const present = (name: string): boolean => Object.hasOwn(files, name);
  const companions = [exportedFiles.config, 'tokenizer.json', 'tokenizer_config.json'].filter(present);
  const wanted = new Set([...companions, ...graphFiles.flatMap((name) => [name, dataFileOf(name)]).filter(present)]);
  const fetched = await fetchFiles(remote, [...wanted]);

  const nameOf = (name: string): string => new URL(name, folder.url).href;
  const json = (name: string): JsonObject | undefined => {
    const bytes = fetched.get(name);
    return bytes === undefined ? undefined : parseJsonObject(bytes, nameOf(name));
  };
  const config = json(exportedFiles.config) ?? {};
  const model = exportedModel(config, manifest, label);
  if (model.kind !== 'causal') {
    throw new LinnetError(
      'CONFIG',
      `${model.family} reads a text before it writes; pages train models that continue texts`,
    );
  }
  const tokenizer = openTokenizer(json('tokenizer.json'), json('tokenizer_config.json'), config, folder.url);
  if (tokenizer === undefined) {
    throw new LinnetError('NOT_FOUND', `${folder.url.href} has no tokenizer, which training on texts needs`);
  }
  const graphs = graphFiles.flatMap((name): GraphFile[] => {
    const bytes = fetched.get(name);
    if (bytes === undefined) return [];
    const data = fetched.get(dataFileOf(name));
    return [{ name: nameOf(name), bytes, data: data && { name: dataFileOf(name), bytes: data } }];
  });
  return { model, parameters: exportedParameters(model, graphs), tokenizer };
}

/**
 * An engine that decodes with given parameters, compiled in the page. Dispose of it.
 * @param settings where it runs; default: on WebAssembly
 * @throws LinnetError `RUNTIME` if the engine fails
 * @example
 * ```ts
 * const engine = await trainedEngine(model, parameters);
 * ```
 */
export async function trainedEngine(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  settings: Partial<WebEngineSettings> = {},
): Promise<StepEngine> {
  const compile = (graph: Parameters<typeof compileForWeb>[0]) => compileForWeb(graph, { device: 'wasm', ...settings });
  return new StepEngine(...(await compileDecoding(model, (graph) => new WeightParameters(graph, parameters), compile)));
}

/**
 * The bytes of a `model.safetensors` with given parameters, as a Hugging Face folder has it.
 * @example
 * ```ts
 * const file = new Blob([await weightsFile(parameters)]);
 * ```
 */
export async function weightsFile(
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
): Promise<Uint8Array<ArrayBuffer>> {
  const entries = [...parameters].map(([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, data }));
  return encodeSafetensors(entries, { format: 'pt' }, 'the weights');
}
