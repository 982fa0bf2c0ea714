/** Loads a classifier from a folder: a stored classifier, or a model with a new head. */
import { LinnetError } from '../errors.ts';
import type { WeightMap, Weights } from '../graph/tensor.ts';
import {
  classifier,
  type ClassifierModel,
  describeClassifier,
  isClassifierConfig,
} from '../models/classifiers/classifier.ts';
import { describeModel, type Model } from '../models/families/index.ts';
import { freshParameter } from '../models/initialize.ts';
import { Random } from '../random.ts';
import { type LoadedModel, loadDescribed, type ModelWeights, openDescribed } from './load-model.ts';

/** A classifier read from a folder: model, weights and tokenizer. */
export type LoadedClassifier = LoadedModel<ClassifierModel>;

/**
 * Loads a folder whose architecture is `…ForSequenceClassification`.
 * @throws LinnetError `CONFIG` for a model for another task, and errors of `loadModel`
 * @example
 * ```ts
 * const { model } = await loadClassifier('runs/sentiment');
 * console.log(model.labels);
 * ```
 */
export async function loadClassifier(dir: string): Promise<LoadedClassifier> {
  return await loadDescribed(dir, describeClassifier);
}

/** Opens a classifier folder; reads no weights. @throws LinnetError like `loadClassifier` */
export async function openClassifierWeights(dir: string): Promise<ModelWeights<ClassifierModel>> {
  return await openDescribed(dir, describeClassifier);
}

/**
 * A classifier with these labels: the folder's own, or its model with a fresh random head. A single label,
 * of any name, makes a regression head.
 * @throws LinnetError `MISMATCH` for a classifier with other labels
 * @example
 * ```ts
 * const { model, parameters } = await startClassifier('assets/tiny-llama', ['good', 'bad'], 1);
 * ```
 */
export async function startClassifier(dir: string, labels: readonly string[], seed: number): Promise<LoadedClassifier> {
  let isFresh = false;
  const loaded = await loadDescribed(dir, (config) => {
    if (isClassifierConfig(config)) return describeClassifier(config);
    isFresh = true;
    const model = describeModel(config);
    const { parameters, optionalParameters, parameterName } = model;
    return { ...classifier(model, labels), parameters, optionalParameters, parameterName };
  });
  const { model, parameters } = loaded;
  if (isFresh) return { ...loaded, ...withFreshHead(model.model, parameters, labels, seed) };
  const { isRegression, labels: known } = model;
  const isNumber = labels.length === 1;
  if (isNumber ? isRegression : String(known) === String(labels)) return loaded;
  const does = isRegression ? 'predicts a number' : `tells ${known.join(', ')} apart`;
  const lacks = isNumber ? 'numbers' : `the classes ${labels.join(', ')}`;
  throw new LinnetError('MISMATCH', `${dir} ${does} and cannot learn ${lacks}; start from its base model`);
}

/** A model as a classifier, with a fresh random head. @param given the model's parameters, by name */
export function withFreshHead(
  backbone: Model,
  given: Weights,
  labels: readonly string[],
  seed: number,
): { readonly model: ClassifierModel; readonly parameters: WeightMap } {
  const model = classifier(backbone, labels);
  const options = { random: new Random(seed), layers: backbone.sizes.layers };
  const parameters: WeightMap = new Map();
  for (const [name, parameter] of model.parameters) {
    parameters.set(name, given.get(name) ?? freshParameter(parameter, options));
  }
  return { model, parameters };
}
