/** An exported folder with accessible parameters, which a page trains further. */
import { encodeSafetensors, float32Entries } from '../checkpoint/safetensors/encoding.ts';
import { compileDecoding } from '../decoding/compile-decoding.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { exportedParameters, type GraphFile } from '../export/exported-parameters.ts';
import { dataFileOf, type ExportManifest, exportedFiles } from '../export/manifest.ts';
import type { Weights } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { readExport } from '../open/model-files.ts';
import type { FetchFilesOptions } from '../open/fetch-options.ts';
import { filesOfGraphs, urlFiles, webTokenizer } from '../open/web.ts';
import { compileForWeb } from '../runtime/web-compile.ts';
import type { WebEngineSettings } from '../runtime/web-engine.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { requireModelKind } from '../models/families/index.ts';

/** A model that predicts the next token, with its parameters in memory. */
export interface TrainableModel {
  readonly model: CausalModel;
  readonly parameters: Weights;
  readonly tokenizer: Tokenizer;
}

/**
 * Fetches the parameters of an exported folder, which must have type f32.
 *
 * @param url the folder's, absolute or relative to the page
 * @param options see `open`; with the same `cache`, nothing it holds is downloaded again
 * @throws LinnetError like `open` for a folder that cannot be fetched or is malformed; `CONFIG` for another type, or a model
 *   that does not predict the next token; `NOT_FOUND` without a tokenizer
 * @example
 * ```ts
 * const trainable = await openTrainable('/model/');
 * ```
 */
export async function openTrainable(url: string | URL, options: FetchFilesOptions = {}): Promise<TrainableModel> {
  const graphFiles = ({ folds }: ExportManifest) => [...new Set([exportedFiles.model, ...Object.values(folds)])];
  const files = urlFiles(url, options, (listed) => {
    if (listed.dtype === 'f32') return filesOfGraphs(listed.files, graphFiles(listed));
    throw new LinnetError(
      'CONFIG',
      `${files.origin} is exported as ${listed.dtype}; training needs an export of type f32`,
    );
  });
  const { manifest, model: given } = await readExport(files);
  const model = requireModelKind(
    given,
    'causal',
    ({ family }) => `${family} reads a text before it writes; pages train models that continue texts`,
  );
  const tokenizer = await webTokenizer(files);
  if (tokenizer === undefined) {
    throw new LinnetError('NOT_FOUND', `${files.origin} has no tokenizer, which training on texts needs`);
  }
  const graphs: GraphFile[] = [];
  for (const file of graphFiles(manifest)) {
    const data = dataFileOf(file);
    const bytes = Object.hasOwn(manifest.files, data) ? await files.read(data, Infinity) : undefined;
    graphs.push({
      name: files.nameOf(file),
      bytes: await files.read(file, Infinity),
      data: bytes && { name: data, bytes },
    });
  }
  return { model, parameters: exportedParameters(model, graphs), tokenizer };
}

/**
 * An engine that decodes with given parameters, compiled in the page. Dispose of it.
 * @param settings where it runs; default: WebAssembly
 * @throws LinnetError `RUNTIME` if the engine fails
 * @example
 * ```ts
 * const engine = await trainedEngine(model, parameters);
 * ```
 */
export async function trainedEngine(
  model: CausalModel,
  parameters: Weights,
  settings: Partial<WebEngineSettings> = {},
): Promise<StepEngine> {
  const { device = 'wasm' } = settings;
  const compile = (graph: Parameters<typeof compileForWeb>[0]) => compileForWeb(graph, { ...settings, device });
  const parts = await compileDecoding(model, (graph) => new WeightParameters(graph, parameters), compile, device);
  return new StepEngine(...parts);
}

/**
 * The bytes of a `model.safetensors` with the given parameters, as in a Hugging Face folder.
 * @example
 * ```ts
 * const file = new Blob([await weightsFile(parameters)]);
 * ```
 */
export function weightsFile(parameters: Weights): Promise<Uint8Array<ArrayBuffer>> {
  return Promise.resolve(encodeSafetensors(float32Entries(parameters), { format: 'pt' }, 'the weights'));
}
