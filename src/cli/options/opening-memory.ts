/** Memory of a model that is opened to generate, known before its weights are read. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openModelWeights } from '../../checkpoint/load-model.ts';
import { EXPORT_FILE } from '../../checkpoint/folder-files.ts';
import { maximumManifestBytes } from '../../export/manifest.ts';
import { readManifest } from '../../export/assemble.ts';
import { readInFolder } from '../../files/regular-file.ts';
import type { WeightType } from '../../quantization/sources.ts';
import { chooseForm, engineMemory } from '../../training/memory-form.ts';
import { processBytes } from '../../training/step-cost.ts';
import { isExport } from '../../open/folder-files.ts';

/** How often the bytes of an export are held, whose files the engine maps or reads. */
const exportHeld = 1.2;

/** How a model is opened, and the memory it may take. */
export interface OpeningLimits {
  readonly dtype?: WeightType;
  /** Bytes. Default: as `memoryLimit`. */
  readonly memory?: number;
}

/** The memory of an opened model at its peak. @param dtype of a checkpoint; default f32 */
export async function openingMemory(folder: string, dtype: WeightType = 'f32'): Promise<number> {
  if (await isExport(folder)) {
    const manifest = readManifest(
      await readInFolder(folder, EXPORT_FILE, maximumManifestBytes),
      join(folder, EXPORT_FILE),
    );
    const sizes = await Promise.all(
      // A missing file is named when it is opened.
      Object.keys(manifest.files).map((file) =>
        stat(join(folder, file)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
    );
    return processBytes + exportHeld * sizes.reduce((sum, bytes) => sum + bytes, 0);
  }
  await using weights = await openModelWeights(folder);
  return engineMemory(weights.model.parameters, dtype);
}

/** @throws LinnetError `CONFIG` for a model whose engine is over the limit */
export async function requireOpeningMemory(folder: string, { dtype, memory }: OpeningLimits): Promise<void> {
  const smaller =
    dtype === undefined || dtype === 'f32' ? ['an export of fewer bits', '`dtype` int4'] : ['an export of it'];
  const remedies = (await isExport(folder)) ? [] : smaller;
  chooseForm(`opening ${folder}`, { whole: await openingMemory(folder, dtype) }, memory, remedies);
}
