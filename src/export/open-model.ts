/** A model ready to decode, from a Hugging Face folder or an exported one: commands take both. */
import { loadModel } from '../checkpoint/load-model.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { requireCausal, requireGenerating } from '../models/families/index.ts';
import type { CausalModel, GeneratingModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { ExportManifest } from './manifest.ts';
import { byFolderFormat } from './folder-format.ts';
import { openExportedModel } from './open-export.ts';

/** Dispose of it. */
export interface DecodingModel<Described extends GeneratingModel = CausalModel> extends AsyncDisposable {
  readonly model: Described;
  readonly engine: StepEngine;
  /** Where it came from: the place of its tokenizer. */
  readonly path: string;
  /** What ties session files to the model. */
  readonly fingerprint: string;
  /** Of an exported folder: how it is stored. */
  readonly manifest?: ExportManifest;
}

/** What an export runs with: on the device it was made for where "cpu" is asked for, which is the default everywhere. */
export function exportOptions({ device, ...others }: CompileOptions): CompileOptions {
  return { ...others, device: device === 'cpu' ? undefined : device };
}

/**
 * Opens a folder of either kind that generates text: a causal model, or one that reads a text and generates another.
 *
 * @param options.device for an exported folder as `exportOptions`
 * @throws LinnetError `CONFIG` for a model that generates nothing, and as `loadModel`, `openExportedModel` and
 *   `DecodingEngine.create`
 */
export async function openGeneratingModel(
  dir: string,
  options: CompileOptions = {},
): Promise<DecodingModel<GeneratingModel>> {
  return byFolderFormat<DecodingModel<GeneratingModel>>(dir, {
    exported: (folder) => openExportedModel(folder, exportOptions(options)),
    checkpoint: (folder) => compileCheckpoint(folder, options),
  });
}

async function compileCheckpoint(dir: string, options: CompileOptions): Promise<DecodingModel<GeneratingModel>> {
  const { parameters, path, fingerprint, ...loaded } = await loadModel(dir);
  const model = requireGenerating(loaded.model);
  const engine = await DecodingEngine.create(model, parameters, options);
  return { model, engine, path, fingerprint, [Symbol.asyncDispose]: () => engine.dispose() };
}

/**
 * Opens a folder of either kind with a causal model.
 * @throws LinnetError `CONFIG` for a model of another kind, and as `openGeneratingModel`
 * @example
 * ```ts
 * await using opened = await openDecodingModel('runs/augmented');
 * const { text } = await generateToEnd(opened.engine, { promptTokens: [1], maxTokens: 20 });
 * ```
 */
export async function openDecodingModel(dir: string, options: CompileOptions = {}): Promise<DecodingModel> {
  const { model, ...opened } = await openGeneratingModel(dir, options);
  try {
    return { ...opened, model: requireCausal(model), [Symbol.asyncDispose]: () => opened.engine.dispose() };
  } catch (error) {
    await opened.engine.dispose();
    throw error;
  }
}
