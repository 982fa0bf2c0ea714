/** Memory of a model that is opened to generate, known before its weights are read. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ModelWeights, openModelWeights } from '../../checkpoint/load-model.ts';
import { EXPORT_FILE } from '../../checkpoint/folder-files.ts';
import { maximumManifestBytes } from '../../export/manifest.ts';
import { readManifest } from '../../export/assemble.ts';
import { readInFolder } from '../../files/regular-file.ts';
import type { WeightType } from '../../quantization/sources.ts';
import { formatBytes } from '../../report/quantities.ts';
import { chooseForm, engineMemory, type FormPlan } from '../../training/memory-form.ts';
import { memoryLimit } from '../../training/plans/options.ts';
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

/** Memory of a measure that reads a model layer by layer; undefined, and why not, where it cannot. */
export interface LayeredMemory {
  readonly layers?: number;
  readonly remedies?: readonly string[];
}

/**
 * Whether a model is opened whole or, where its engine does not fit, read layer by layer.
 * @param limits have `dtype` if the command does
 * @param layered of work that has this form, for checkpoints
 * @throws LinnetError `CONFIG` where neither fits
 */
export async function requireOpeningMemory(
  folder: string,
  limits: OpeningLimits,
  layered?: (weights: ModelWeights) => Promise<LayeredMemory> | LayeredMemory,
): Promise<FormPlan> {
  const { dtype, memory = memoryLimit(undefined) } = limits;
  const whole = await openingMemory(folder, dtype);
  const work = `opening ${folder}`;
  if (whole <= memory || (await isExport(folder))) return chooseForm(work, { whole }, memory);
  await using weights = await openModelWeights(folder);
  const { layers, remedies = [] } = (await layered?.(weights)) ?? {};
  const narrow = formatBytes(engineMemory(weights.model.parameters, 'int4'));
  const isFull = dtype === undefined || dtype === 'f32';
  const helps = [...remedies, isFull ? `an export of fewer bits (in int4 about ${narrow})` : 'an export of it'];
  if (isFull && 'dtype' in limits) helps.push('`dtype` int4');
  return chooseForm(work, { whole, layers }, memory, helps);
}
