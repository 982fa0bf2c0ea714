/** Exports a Hugging Face folder without loading it: weights go from file to file, one by one. */
import { openModelWeights } from '../checkpoint/load-model.ts';
import { requireCausal } from '../models/families.ts';
import { type ExportOptions, exportModel } from './export-model.ts';
import type { ExportManifest } from './manifest.ts';

/**
 * Exports the causal model of a folder, with its tokenizer.
 * @throws LinnetError as `openModelWeights` and `exportModel`; `CONFIG` for a model of another kind
 */
export async function exportFolder(
  from: string,
  to: string,
  options: Omit<ExportOptions, 'model' | 'weights' | 'tokenizerFiles'>,
): Promise<ExportManifest> {
  const weights = await openModelWeights(from);
  try {
    const model = requireCausal(weights.model);
    return await exportModel(to, { ...options, model, weights, tokenizerFiles: { from: weights.path } });
  } finally {
    await weights.close();
  }
}
