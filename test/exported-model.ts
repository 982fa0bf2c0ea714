/** Writes an exported model folder for the tests of its readers: the small LLaMA of `assets/`, linearized. */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mixerPreset } from '../src/attention/mixer.ts';
import { loadCausalModel } from '../src/checkpoint/load-model.ts';
import { MODEL_FILE, writeOnnxModel } from '../src/checkpoint/onnx-model.ts';
import { foldClasses } from '../src/decoding/state.ts';
import type { Graph } from '../src/graph/graph.ts';
import { lowerGraph } from '../src/graph/onnx/lowering.ts';
import type { Tensor } from '../src/graph/tensor.ts';
import { linearize } from '../src/models/linearize.ts';
import type { CausalModel } from '../src/models/model.ts';
import { foldGraph, stepGraph } from '../src/models/step-graph.ts';
import { WeightParameters } from '../src/nn/parameters.ts';

const source = fileURLToPath(new URL('../assets/tiny-llama', import.meta.url));

/** A model with what it computes with. */
export interface ModelWithWeights {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor>;
}

/** The small LLaMA with the augmented mixer in every layer. */
export async function augmentedTinyLlama(): Promise<ModelWithWeights> {
  const loaded = await loadCausalModel(source);
  return linearize(loaded.model, loaded.parameters, mixerPreset('augmented'));
}

/** Exports it with its tokenizer; all weights of 1 KB and more go into `model.onnx.data`. */
export async function writeExportedModel(folder: string, { model, parameters }: ModelWithWeights): Promise<void> {
  const weights = (graph: Graph): WeightParameters => new WeightParameters(graph, parameters);
  await mkdir(folder, { recursive: true });
  const folds: Record<string, string> = {};
  for (const { program, layers } of foldClasses(model)) {
    if (program in folds) continue;
    const name = `fold-${Object.keys(folds).length}.onnx`;
    await writeOnnxModel(folder, lowerGraph(foldGraph(model, layers[0], weights), 'cpu'));
    await rename(join(folder, MODEL_FILE), join(folder, name));
    folds[program] = name;
  }
  await writeOnnxModel(folder, lowerGraph(stepGraph(model, weights), 'cpu'), { inlineBytes: 0 });
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(source, name), join(folder, name));
  await writeFile(join(folder, 'config.json'), JSON.stringify(model.toJson()));
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const name of (await readdir(folder)).sort()) {
    const bytes = await readFile(join(folder, name));
    files[name] = { bytes: bytes.byteLength, sha256: createHash('sha256').update(bytes).digest('hex') };
  }
  const manifest = { version: 1, dtype: 'float32', device: 'cpu', files, folds };
  await writeFile(join(folder, 'linnet.json'), JSON.stringify(manifest, null, 2));
}
