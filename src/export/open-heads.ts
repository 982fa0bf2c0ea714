/** Medusa heads ready to draft, from a Hugging Face folder or an exported one: commands take both. */
import { hasMedusaHeads, loadMedusaHeads } from '../checkpoint/medusa-files.ts';
import type { MedusaTree } from '../checkpoint/medusa-trees.ts';
import type { GeneratingModel } from '../models/model.ts';
import { MedusaHeads } from '../models/medusa/medusa-heads.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { openExportedHeads } from './open-export.ts';
import { type DecodingModel, exportOptions } from './open-model.ts';

/** Dispose of them. */
export interface DraftHeads extends AsyncDisposable {
  readonly heads: MedusaHeads;
  /** The candidate tree that the folder has for them. */
  readonly tree?: MedusaTree;
}

/**
 * Whether the folder of a model holds Medusa heads, valid or not.
 * @example
 * ```ts
 * await using opened = await openDecodingModel('runs/augmented');
 * const method = (await hasDraftHeads(opened)) ? 'medusa' : 'lookup';
 * ```
 */
export async function hasDraftHeads({
  path,
  manifest,
}: Pick<DecodingModel<GeneratingModel>, 'path' | 'manifest'>): Promise<boolean> {
  return manifest === undefined ? hasMedusaHeads(path) : manifest.medusa !== undefined;
}

/**
 * Opens the heads next to a model, each as the model itself is: those of an export as they were stored.
 *
 * @param options as of `openDecodingModel`
 * @throws LinnetError `NOT_FOUND` if there are none; else as `loadMedusaHeads` and `MedusaHeads.create`, or as
 *   `openExportedHeads`
 * @example
 * ```ts
 * await using opened = await openDecodingModel('runs/augmented');
 * await using drafting = await openDraftHeads(opened);
 * const method = speculative(new MedusaDrafter(drafting.heads));
 * ```
 */
export async function openDraftHeads(
  {
    model,
    path,
    fingerprint,
    manifest,
  }: Pick<DecodingModel<GeneratingModel>, 'model' | 'path' | 'fingerprint' | 'manifest'>,
  options: CompileOptions = {},
): Promise<DraftHeads> {
  if (manifest !== undefined) {
    const heads = await openExportedHeads({ model, path, manifest }, exportOptions(options));
    return draftHeads(heads, manifest.medusa?.tree);
  }
  const { config, parameters, tree } = await loadMedusaHeads(path, { model, fingerprint });
  return draftHeads(await MedusaHeads.create(config, model.sizes, parameters, options), tree);
}

function draftHeads(heads: MedusaHeads, tree: MedusaTree | undefined): DraftHeads {
  return { heads, tree, [Symbol.asyncDispose]: () => heads.dispose() };
}
