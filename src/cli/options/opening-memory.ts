/** Memory for opening a model to generate, known before reading its weights. */
import { type ModelWeights, openAnyWeights } from '../../checkpoint/load-model.ts';
import type { ClassifierModel } from '../../models/classifiers/classifier.ts';
import type { Model } from '../../models/model.ts';
import type { WeightType } from '../../quantization/sources.ts';
import { formatBytes } from '../../report/quantities.ts';
import { chooseForm, codedMemory, engineMemory, type FormPlan } from '../../training/memory-form.ts';
import { memoryLimit } from '../../training/plans/options.ts';
import { processBytes } from '../../training/step-cost.ts';
import { isExport, readExportedFolder } from '../../open/folder-files.ts';

/** How often the bytes of an export are held, whose files the engine maps or reads. */
const exportHeld = 1.2;

/** How a model is opened, and the memory it may take. */
export interface OpeningLimits {
  readonly dtype?: WeightType;
  /** Whether the work decodes matrices in codes to float32. Default: false. */
  readonly decodes?: boolean;
  /** Bytes. Default: as `memoryLimit`. */
  readonly memory?: number;
  /** Bytes of the work's results, such as `scoredBytes`. Default: negligible. */
  readonly results?: (model: Model) => number;
}

/** Peak memory of an opened model. @param dtype a checkpoint's type; default: the codes in its files, else f32 */
export async function openingMemory(folder: string, dtype?: WeightType): Promise<number> {
  if (await isExport(folder)) return exportMemory(folder);
  await using weights = await openAnyWeights(folder);
  return checkpointMemory(weights, dtype);
}

/** Peak memory of an opened export, plus results of the model's work. */
async function exportMemory(folder: string, results?: OpeningLimits['results']): Promise<number> {
  const { manifest, model } = await readExportedFolder(folder);
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  return processBytes + exportHeld * bytes + (results?.(model) ?? 0);
}

function checkpointMemory(weights: ModelWeights<Model | ClassifierModel>, dtype?: WeightType): number {
  const { parameters } = weights.model;
  const hasCodes = dtype === undefined && weights.names.some((name) => weights.codes(name) !== undefined);
  return hasCodes ? codedMemory(parameters, (name) => weights.codes(name)) : engineMemory(parameters, dtype ?? 'f32');
}

/** Memory of a layer-by-layer measure; if impossible, undefined and the remedies. */
export interface LayeredMemory {
  readonly layers?: number;
  readonly remedies?: readonly string[];
}

/**
 * Whether a model is opened whole or, if its engine does not fit, read layer by layer.
 * @param limits have `dtype` if the command does
 * @param layered layer-by-layer memory, for checkpoints and work that has this form
 * @throws LinnetError `CONFIG` if neither fits
 */
export async function requireOpeningMemory(
  folder: string,
  limits: OpeningLimits,
  layered?: Layered,
): Promise<FormPlan> {
  const { decodes = false, memory = memoryLimit(undefined), results } = limits;
  const dtype = limits.dtype ?? (decodes ? 'f32' : undefined);
  const work = `opening ${folder}`;
  if (await isExport(folder)) return chooseForm(work, { whole: await exportMemory(folder, results) }, memory);
  await using weights = await openAnyWeights(folder);
  const { model } = weights;
  // A classifier is refused, if it is, when it is opened.
  const generating = 'kind' in model ? { ...weights, model } : undefined;
  const whole = checkpointMemory(weights, dtype) + ((generating && results?.(generating.model)) ?? 0);
  if (whole <= memory) return chooseForm(work, { whole }, memory);
  const { layers, remedies = [] } = (generating && (await layered?.(generating))) ?? {};
  const helps = [...remedies];
  const isFull = dtype === undefined || dtype === 'f32';
  if (generating !== undefined && generating.model.kind !== 'encoder') {
    const narrow = engineMemory(model.parameters, 'int4');
    if (!isFull) helps.push('an export of it');
    else if (narrow < whole) {
      helps.push(`an export in fewer bits (int4: about ${formatBytes(narrow)})`);
      if ('dtype' in limits) helps.push('`dtype` int4');
    }
  }
  return chooseForm(work, { whole, layers }, memory, helps);
}

type Layered = (weights: ModelWeights) => Promise<LayeredMemory> | LayeredMemory;
