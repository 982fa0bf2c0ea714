/** `open` for Node: a model from a folder, the hub or a URL, ready to be asked. */
import { createHash } from 'node:crypto';
import { loadClassifier } from '../checkpoint/load-classifier.ts';
import { loadModel, readModelConfig, saveModel } from '../checkpoint/load-model.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { restoreSession, saveSession } from '../decoding/state/session-file.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { byFolderFormat } from '../export/folder-format.ts';
import { openExportedModel } from '../export/open-export.ts';
import { exportOptions } from '../export/open-model.ts';
import type { Tensor } from '../graph/tensor.ts';
import { isClassifierConfig } from '../models/classifiers/classifier.ts';
import type { Model } from '../models/families/index.ts';
import { linearizeByName } from '../models/linearization/linearize-by-name.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { readChatTemplate } from '../tokenizer/chat-template-files.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { ClassifyingModel, EncodingModel } from './classifying-model.ts';
import type { ModelChanges, OpenedModel } from './opened-model.ts';
import type { SessionFiles } from '../engine/session.ts';
import { type DownloadOptions, folderOfModel } from './source.ts';
import { textGenerator } from './text-generator.ts';
import { requireCount, requireOneOf, requireOptions } from '../files/arguments.ts';

/** How a model is opened: where it runs, and how it is downloaded if it is not here. */
export interface OpenOptions extends DownloadOptions, Pick<CompileOptions, 'device' | 'threads' | 'worker'> {}

/**
 * Opens a model: a run folder, a Hugging Face folder, an exported folder, a model of the hub or an export behind a URL.
 * Graphs of checkpoints are compiled when they are first needed.
 *
 * @param source a folder; `owner/name` of the hub, where no such folder exists; or a URL. What is downloaded is kept in
 *   `~/.cache/linnet`.
 * @param options.device default `cpu`, and for an exported folder the device that it was made for
 * @throws LinnetError `NOT_FOUND` if there is no such model, `INPUT` for what is none of these, `CONFIG` for an unsupported
 *   model, `FORMAT`, `TENSOR` or `PATH` for files that are not what they should be, `MISMATCH` for a device that an
 *   export was not made for
 * @example
 * ```ts
 * await using model = await open('runs/augmented');
 * for await (const text of model.generate('Once upon a time')) process.stdout.write(text);
 * ```
 */
export async function open(source: string | URL, options: OpenOptions = {}): Promise<OpenedModel> {
  requireOptions(options, 'the options of open');
  requireOneOf(options.device, 'device', ['cpu', 'webgpu']);
  if (options.threads !== undefined) requireCount(options.threads, 'threads');
  const { device, threads, worker } = options;
  const compile = { device, threads, worker };
  return byFolderFormat(await folderOfModel(source, options), {
    exported: (folder) => openExport(folder, compile),
    checkpoint: (folder) => openCheckpointFolder(folder, compile),
  });
}

async function openExport(folder: string, compile: CompileOptions): Promise<OpenedModel> {
  const { model, engine, path, fingerprint } = await openExportedModel(folder, exportOptions(compile));
  try {
    return textGenerator(model, {
      ...(await companionsOf(path)),
      family: model.family,
      origin: path,
      fingerprint,
      engine,
      sessionFiles: sessionFiles(fingerprint),
    });
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

async function openCheckpointFolder(folder: string, compile: CompileOptions): Promise<OpenedModel> {
  if (isClassifierConfig(await readModelConfig(folder))) {
    const { model, parameters, path, fingerprint } = await loadClassifier(folder);
    const { tokenizer } = await companionsOf(path);
    const { family } = model.model;
    return new ClassifyingModel({
      tokenizer,
      description: model,
      family,
      origin: path,
      fingerprint,
      parameters,
      compile,
    });
  }
  const { model, parameters, path, fingerprint } = await loadModel(folder);
  const companions = await companionsOf(path);
  return openWeights(model, parameters, { compile, fingerprint, folder: path, ...companions });
}

/** What lies next to the weights of a model, and how they are compiled. */
interface Surroundings {
  readonly folder: string;
  readonly fingerprint: string;
  readonly compile: CompileOptions;
  readonly tokenizer: Tokenizer | undefined;
  readonly template: ChatTemplate | undefined;
}

type Weights = ReadonlyMap<string, Tensor<'float32'>>;

/** A model whose weights are in memory. */
function openWeights(model: Model, parameters: Weights, surroundings: Surroundings): OpenedModel {
  const { folder, fingerprint, compile, tokenizer, template } = surroundings;
  const changes: ModelChanges = {
    linearize: async (mixer, options) => {
      const changed = linearizeByName(model, parameters, mixer, options);
      const mixers = JSON.stringify(changed.model.mixers);
      const own = createHash('sha256').update(`${fingerprint} ${mixers}`).digest('hex');
      return openWeights(changed.model, changed.parameters, { ...surroundings, fingerprint: own });
    },
    save: (to, options) => saveModel(to, { model, parameters }, { ...options, tokenizerFiles: { from: folder } }),
  };
  const common = { family: model.family, origin: folder, fingerprint, tokenizer, changes };
  if (model.kind === 'encoder') return new EncodingModel(common, model);
  const engine = (): Promise<StepEngine> => DecodingEngine.create(model, parameters, compile);
  const generating = { ...common, template, engine, sessionFiles: sessionFiles(fingerprint) };
  return textGenerator(model, generating);
}

/** Session files of a model that `fingerprint` identifies. */
function sessionFiles(fingerprint: string): (engine: StepEngine) => SessionFiles {
  return (engine) => ({
    save: (path, content) => saveSession(path, { ...content, fingerprint }),
    load: async (path) => {
      const { tokens, ...restored } = await restoreSession(path, engine, fingerprint);
      return { ...restored, tokens: Array.from(tokens) };
    },
  });
}

/** Tokenizer and chat template of a folder, which may have neither. */
async function companionsOf(folder: string): Promise<Pick<Surroundings, 'tokenizer' | 'template'>> {
  const tokenizer = await loadTokenizer(folder).catch((error: unknown) => {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  });
  return { tokenizer, template: tokenizer && (await readChatTemplate(folder, tokenizer)) };
}
