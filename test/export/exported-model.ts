/** The small LLaMA of `assets/`, linearized, and exported for the tests of what reads exported folders. */
import { fileURLToPath } from 'node:url';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { type ExportOptions, exportModel } from '../../src/export/export-model.ts';
import type { Tensor } from '../../src/graph/tensor.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';

const source = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));

/** A model with what it computes with. */
export interface ModelWithWeights {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
}

/** The small LLaMA with the augmented mixer in every layer. */
export async function augmentedTinyLlama(): Promise<ModelWithWeights> {
  const loaded = await loadCausalModel(source);
  return linearize(loaded.model, loaded.parameters, mixerPreset('augmented'));
}

/** Exports it with its tokenizer. */
export async function writeExportedModel(
  folder: string,
  { model, parameters }: ModelWithWeights,
  options: Pick<ExportOptions, 'dtype' | 'block' | 'device'>,
): Promise<void> {
  await exportModel(folder, { model, weights: readerOf(parameters), tokenizerFiles: { from: source }, ...options });
}
