/** `open` for Node: a model from a folder, the hub or a URL, ready to be asked. */
import { type ModelInFolder, openInPlace, saveModel } from '../checkpoint/load-model.ts';
import { hasMedusaHeads, loadMedusaHeads } from '../checkpoint/medusa-files.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { restoreSession, saveSession } from '../decoding/state/session-file.ts';
import type { SessionFiles } from '../engine/session.ts';
import { ifFound, LinnetError } from '../errors.ts';
import { storedSource } from '../export/encoded-graphs.ts';
import { requireCount, requireOneOf, requireOptions } from '../files/arguments.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Classifier } from '../models/classifiers/classifier.ts';
import type { Model } from '../models/families/index.ts';
import { decoderOf } from '../models/model.ts';
import { linearizeByName } from '../models/linearization/linearize-by-name.ts';
import { MedusaHeads } from '../models/medusa/medusa-heads.ts';
import { readerOf, type WeightReader } from '../quantization/weight-reader.ts';
import { type WeightType, weightTypes } from '../quantization/sources.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { loadTokenizer, readChatTemplate } from '../tokenizer/tokenizer.ts';
import { folderFiles, isExport, openExportedHeads } from './folder-files.ts';
import { openExport } from './model-files.ts';
import { type DraftHeads, Opened, type OpenedModel, type OpenedParts, openedGenerator } from './opened-model.ts';
import { type DownloadOptions, folderOfModel } from './source.ts';
import { TextReader } from './text-reader.ts';
import { sha256 } from '../files/digest.ts';

/** How a model is opened: where it runs, and how it is downloaded if it is not here. */
export interface OpenOptions extends DownloadOptions, Omit<CompileOptions, 'lean'> {
  /**
   * How matrices of a checkpoint that generates texts are stored in memory; made when the engine is, for less memory and faster
   * steps. Default: f32. An export has the type that it was written in.
   */
  readonly dtype?: WeightType;
  /** Compare the checksums of all files of an exported folder, weights included. Default: of its small files. */
  readonly verify?: boolean;
}

/**
 * Opens a model: a run folder, a Hugging Face folder, an exported folder, a model of the hub or an export behind a URL.
 * Graphs of checkpoints are compiled when they are first needed.
 *
 * @param source a folder; `linnet:tiny-llama`, which comes with the package; `owner/name` of the hub, where nothing here has
 *   a name like it; or a URL. Downloads are kept in `~/.cache/linnet`, and announced to `onPlan` or by a line on the
 *   standard error.
 * @param options.device default `cpu`, and for an exported folder the device that it was made for
 * @param options.spin default true for the steps of an exported folder
 * @throws LinnetError `NOT_FOUND` if there is no such model, `INPUT` for a source that is none of these, `CONFIG` for an
 *   unsupported model, or a `dtype` where it has no meaning, `FORMAT`, `TENSOR` or `PATH` for invalid files, `MISMATCH` for a device that an
 *   export was not made for
 * @example
 * ```ts
 * await using model = await open('runs/augmented');
 * for await (const text of model.generate('Once upon a time')) process.stdout.write(text);
 * ```
 */
export async function open(source: string | URL, options: OpenOptions = {}): Promise<OpenedModel> {
  requireOptions(options, 'the options of open', openOptionNames);
  requireOneOf(options.device, 'device', ['cpu', 'cuda', 'webgpu']);
  if (options.threads !== undefined) requireCount(options.threads, 'threads');
  requireOneOf(options.dtype, 'dtype', weightTypes);
  const { device, threads, worker, spin, profile, verify, dtype } = options;
  const compile = { device, threads, worker, spin, profile };
  const folder = await folderOfModel(source, options);
  if (!(await isExport(folder))) {
    const found = await openInPlace(folder);
    return openWeights(found, { ...(await companionsOf(found.path)), origin: found.path, compile, dtype });
  }
  if (dtype !== undefined) {
    throw new LinnetError('CONFIG', `${folder} is exported, in a type of its own; leave out \`dtype\``);
  }
  return openExport(folderFiles(folder, { ...compile, verify }), async (exported) => ({
    ...(await companionsOf(exported.path)),
    sessionFiles: sessionFiles(exported.fingerprint),
    heads: {
      present: () => Promise.resolve(exported.manifest.medusa !== undefined),
      open: async () => draftHeads(await openExportedHeads(exported, compile), exported.manifest.medusa?.tree),
    },
  }));
}

const openOptionNames: Readonly<Record<keyof OpenOptions, true>> = {
  ...{ device: true, threads: true, worker: true, spin: true, profile: true, verify: true, dtype: true },
  ...{ hub: true, revision: true, onPlan: true, onProgress: true, signal: true },
};

/** Where a model came from, and how it is compiled. */
interface Surroundings extends Pick<OpenedParts, 'origin' | 'tokenizer' | 'template'> {
  readonly compile: CompileOptions;
  readonly dtype?: WeightType;
}

interface Weighted extends Pick<ModelInFolder<Model | Classifier>, 'model' | 'fingerprint' | 'names'> {
  readonly weights: WeightReader;
}

/** A model whose weights are read when its graphs are compiled. */
function openWeights(opened: Weighted, { compile, dtype = 'f32', ...around }: Surroundings): OpenedModel {
  const { model, weights, fingerprint, names } = opened;
  const { origin, tokenizer } = around;
  if (dtype !== 'f32' && ('labels' in model || model.kind === 'encoder')) {
    throw new LinnetError('CONFIG', `${origin} generates no text and is computed in float32; leave out \`dtype\``);
  }
  if ('labels' in model) {
    const reader = new TextReader(model, { tokenizer, weights, compile });
    const { family } = model.model;
    return new Opened('classifier', model, { origin, tokenizer, family, fingerprint, reader });
  }
  const readAll = async (): Promise<ReadonlyMap<string, Tensor<'float32'>>> => {
    const parameters = new Map<string, Tensor<'float32'>>();
    for (const name of names) parameters.set(name, await weights.read(name));
    return parameters;
  };
  const changes: OpenedParts['changes'] = {
    linearize: async (mixer, options) => {
      const changed = linearizeByName(model, await readAll(), mixer, options ?? {});
      const mixers = JSON.stringify(changed.model.mixers);
      const own = sha256(`${fingerprint} ${mixers}`);
      const read = { weights: readerOf(changed.parameters), names: [...changed.parameters.keys()] };
      return openWeights({ model: changed.model, ...read, fingerprint: own }, { ...around, compile, dtype });
    },
    async save(to, options) {
      const content = { model, parameters: await readAll() };
      await saveModel(to, content, { ...options, tokenizerFiles: { from: origin } });
    },
  };
  const common = { ...around, fingerprint, changes };
  if (model.kind === 'encoder') {
    const reader = new TextReader(model, { tokenizer, weights, compile });
    return new Opened('encoder', model, { ...common, family: model.family, reader });
  }
  const stored = { dtype, device: compile.device === 'webgpu' ? 'webgpu' : 'cpu' } as const;
  return openedGenerator(model, common, {
    engine: () => DecodingEngine.compile(model, storedSource(decoderOf(model), weights, stored), compile),
    sessionFiles: sessionFiles(dtype === 'f32' ? fingerprint : sha256(`${fingerprint} ${dtype}`)),
    heads: {
      present: () => hasMedusaHeads(origin),
      open: async () => {
        const { config, parameters: weights, tree } = await loadMedusaHeads(origin, { model, fingerprint });
        return draftHeads(await MedusaHeads.create(config, model.sizes, weights, compile), tree);
      },
    },
  });
}

function draftHeads(heads: MedusaHeads, tree: DraftHeads['tree']): DraftHeads {
  return { heads, tree, [Symbol.asyncDispose]: () => heads.dispose() };
}

/** Session files of a model that `fingerprint` identifies. */
function sessionFiles(fingerprint: string): SessionFiles {
  return {
    save: (path, content) => saveSession(path, { ...content, fingerprint }),
    load: (path, engine) => restoreSession(path, engine, fingerprint),
  };
}

/** Tokenizer and chat template of a folder, which may have neither. */
async function companionsOf(folder: string): Promise<Pick<OpenedParts, 'tokenizer' | 'template'>> {
  const tokenizer = await ifFound(loadTokenizer(folder));
  return { tokenizer, template: tokenizer && (await readChatTemplate(folder, tokenizer)) };
}
