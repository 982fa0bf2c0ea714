/** Exports a Hugging Face folder without loading it: weights go from file to file, one by one. */
import { type ModelWeights, openModelWeights } from '../checkpoint/load-model.ts';
import { hasMedusaHeads, type MedusaWeights, openMedusaHeads } from '../checkpoint/medusa-files.ts';
import { requireGenerating } from '../models/families/index.ts';
import { type ExportOptions, exportModel } from './export-model.ts';
import type { ExportManifest } from './manifest.ts';
import { requireKind, requirePath } from '../files/arguments.ts';

/**
 * Exports the model of a folder, with its tokenizer and Medusa heads.
 * @throws LinnetError as `openModelWeights`, `headsOfFolder` and `exportModel`; `CONFIG` for a model that generates nothing
 * @example
 * ```ts
 * await exportFolder('runs/tuned', 'runs/tuned-int4', { dtype: 'int4' });
 * ```
 */
export async function exportFolder(
  from: string,
  to: string,
  options: Omit<ExportOptions, 'model' | 'weights' | 'medusa' | 'tokenizerFiles'>,
): Promise<ExportManifest> {
  requirePath(from, 'the folder of the model');
  requirePath(to, 'the folder of the export');
  requireKind(options, 'the options of exportFolder', ['dtype'], 'an object with dtype');
  await using weights = await openModelWeights(from);
  const model = requireGenerating(weights.model);
  await using medusa = await headsOfFolder(weights);
  return await exportModel(to, { ...options, model, weights, medusa, tokenizerFiles: { from: weights.path } });
}

/**
 * The Medusa heads next to a model, undefined where there are none. Reads all weights of the model once where there are,
 * to find out whether the heads are its own. Dispose of them.
 * @throws LinnetError as `openMedusaHeads`; `CONFIG` for a model that generates nothing
 */
export async function headsOfFolder(
  weights: Pick<ModelWeights, 'model' | 'path' | 'fingerprint'>,
): Promise<MedusaWeights | undefined> {
  const { path } = weights;
  if (!(await hasMedusaHeads(path))) return undefined;
  const model = requireGenerating(weights.model);
  return openMedusaHeads(path, { model, fingerprint: await weights.fingerprint() });
}
