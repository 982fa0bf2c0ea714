/** A model that reads texts whole, as a server knows it: a classifier, or an encoder. */
import { loadClassifier } from '../../checkpoint/load-classifier.ts';
import { loadModel, readModelConfig } from '../../checkpoint/load-model.ts';
import { byFolderFormat } from '../../export/folder-format.ts';
import type { Value } from '../../graph/graph.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { reshape } from '../../graph/ops/layout.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { ClassifiedTexts } from '../../models/classifiers/classifier-parts.ts';
import { type Classifier, isClassifierConfig } from '../../models/classifiers/classifier.ts';
import { describeModel } from '../../models/families/index.ts';
import type { Model } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { layOutText, longestText, WholeTexts } from '../../open/whole-texts.ts';
import type { LaidOutText } from '../../data/datasets/text-layouts.ts';
import { LinnetError } from '../../errors.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { describeServed } from '../served-model.ts';
import type { NamedModel } from '../../engine/text-model.ts';

/** Dispose of it. */
export interface ReadingModel extends NamedModel, AsyncDisposable {
  readonly kind: 'classifier' | 'encoder';
  /** What it is, or whose backbone it has. */
  readonly description: Model;
  /** Labels and head, of a classifier. */
  readonly classifier?: Pick<Classifier, 'labels' | 'isRegression'>;
  /** Most tokens that it reads of a text. */
  readonly longest: number;
  /** A text, or two, as the model reads them. @param longest tokens beyond which it is cut; Infinity cuts nothing */
  layOut(text: string, pair: string | undefined, longest: number): LaidOutText;
  /** Logits [classes] of a text. @throws LinnetError `CONFIG` for an encoder */
  logits(text: LaidOutText): Promise<Float32Array>;
  /** The mean of the last hidden states of a text, of length 1: [width]. */
  embedding(text: LaidOutText): Promise<Float32Array>;
}

/** How a model is opened. */
export interface ReadingModelOptions extends CompileOptions {
  readonly name: string;
}

/** Whether a folder holds a model that reads texts whole and writes none. @throws LinnetError as `readModelConfig` and `describeModel` */
export async function readsWholeTexts(folder: string): Promise<boolean> {
  return byFolderFormat(folder, {
    // Classifiers and encoders are not exported.
    exported: () => Promise.resolve(false),
    checkpoint: async () => {
      const config = await readModelConfig(folder);
      return isClassifierConfig(config) || describeModel(config).kind === 'encoder';
    },
  });
}

/**
 * Opens a folder with a classifier or an encoder, and its tokenizer. Graphs are compiled when they are first needed.
 * @throws LinnetError as `loadClassifier`, `loadModel` and `loadTokenizer`
 */
export async function openReadingModel(
  folder: string,
  { name, ...compile }: ReadingModelOptions,
): Promise<ReadingModel> {
  const loaded = await loadReading(folder);
  const { description, classifier, parameters, fingerprint } = loaded;
  const named = await describeServed(name, loaded.path, description);
  const { tokenizer } = named;
  const longest = longestText(description);
  const padding = tokenizer.padId ?? tokenizer.eosId ?? 0;
  const programs = (result: (source: ParameterSource, texts: ClassifiedTexts) => Value): WholeTexts =>
    new WholeTexts(longest, padding, { parameters, compile, result });
  const classes = classifier === undefined ? undefined : programs((...given) => classifier.classLogits(...given));
  const sums = programs((source, texts) => hiddenSum(description, source, texts));
  return {
    ...named,
    ...{ kind: classifier === undefined ? 'encoder' : 'classifier', description, classifier, longest, fingerprint },
    layOut: (text, pair, most) => layOutText(description, tokenizer, { text, pair }, most),
    logits(text) {
      if (classes !== undefined) return classes.run(text);
      return Promise.reject(new LinnetError('CONFIG', `${name} is an encoder without classes`));
    },
    embedding: async (text) => unitLength(await sums.run(text)),
    async [Symbol.asyncDispose]() {
      await classes?.[Symbol.asyncDispose]();
      await sums[Symbol.asyncDispose]();
    },
  };
}

/** A folder that was loaded. */
interface LoadedReading {
  readonly description: Model;
  readonly classifier?: Classifier;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  readonly path: string;
  readonly fingerprint: string;
}

async function loadReading(folder: string): Promise<LoadedReading> {
  if (isClassifierConfig(await readModelConfig(folder))) {
    const { model: classifier, ...loaded } = await loadClassifier(folder);
    return { ...loaded, classifier, description: classifier.model };
  }
  const { model, ...loaded } = await loadModel(folder);
  return { ...loaded, description: model };
}

/** The sum of the last hidden states of a text's own tokens, [1,width]: its direction is that of their mean. */
function hiddenSum(model: Model, source: ParameterSource, texts: ClassifiedTexts): Value {
  const [, n] = texts.tokens.shape.map(Number);
  const hidden = model.kind === 'causal' ? parallelHidden(model, source, texts.tokens) : model.encode(source, texts); // [1,n,width]
  const summed = matmul(reshape(texts.mask, [1, 1, n]), hidden); // [1,1,width]
  return reshape(summed, [1, model.sizes.width]);
}

function unitLength(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return vector.map((value) => (length === 0 ? 0 : value / length));
}
