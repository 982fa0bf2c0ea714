/** A model ready to decode, from a Hugging Face folder or an exported one: commands take both. */
import { loadCausalModel } from '../checkpoint/load-model.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import type { CausalModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { ExportManifest } from './manifest.ts';
import { isExportedFolder, openExportedModel } from './open-export.ts';

/** Dispose of it. */
export interface DecodingModel extends AsyncDisposable {
  readonly model: CausalModel;
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
 * Opens a folder of either kind.
 *
 * @param options.device for an exported folder as `exportOptions`
 * @throws LinnetError as `loadCausalModel`, `openExportedModel` and `DecodingEngine.create`
 */
export async function openDecodingModel(dir: string, options: CompileOptions = {}): Promise<DecodingModel> {
  if (await isExportedFolder(dir)) return openExportedModel(dir, exportOptions(options));
  const { model, parameters, path, fingerprint } = await loadCausalModel(dir);
  const engine = await DecodingEngine.create(model, parameters, options);
  return { model, engine, path, fingerprint, [Symbol.asyncDispose]: () => engine.dispose() };
}
