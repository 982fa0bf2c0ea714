/** Opened models that read texts whole and write none: encoders, and classifiers of any backbone. For Node. */
import { longestSequence } from '../attention/mixers.ts';
import { type LaidOutText, textLayouts } from '../data/datasets/text-layouts.ts';
import { LinnetError } from '../errors.ts';
import { requireText } from '../files/arguments.ts';
import type { Value } from '../graph/graph.ts';
import { reshape } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { ClassifiedTexts } from '../models/model.ts';
import type { Classifier } from '../models/classifiers/classifier.ts';
import { parallelHidden } from '../models/graphs/parallel-graph.ts';
import type { EncoderModel, Model } from '../models/model.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { type Classification, type ModelOrigin, Opened } from './opened-model.ts';
import { WholeTexts } from './whole-texts.ts';

/** Parts of such a model. */
interface EncodingParts<Described> extends ModelOrigin {
  readonly description: Described;
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly compile: CompileOptions;
}

/** A model that reads texts whole, one at a time. Graphs are compiled when they are first needed. */
export abstract class EncodingModel extends Opened {
  abstract override readonly kind: 'encoder' | 'classifier';
  /** The model that reads the text: the model itself, or a classifier's backbone. */
  readonly backbone: Model;
  /** Most tokens that it reads of a text, those around it included. */
  readonly longest: number;
  readonly #programs: (result: (source: ParameterSource, texts: ClassifiedTexts) => Value) => WholeTexts;
  #sums: WholeTexts | undefined;

  constructor(parts: EncodingParts<unknown>, backbone: Model) {
    super(parts);
    const { tokenizer, parameters, compile } = parts;
    this.backbone = backbone;
    this.longest = Math.min(backbone.sizes.trainedLength, ...backbone.mixers.map(longestSequence));
    const padding = tokenizer?.padId ?? tokenizer?.eosId ?? 0;
    this.#programs = (result) => new WholeTexts(this.longest, padding, { parameters, compile, result });
  }

  /** A text, or two, as the model reads them. @param longest tokens beyond which it is cut; Infinity cuts nothing */
  layOut(text: string, pair: string | undefined, longest: number): LaidOutText {
    return textLayouts[this.backbone.kind](this.tokenizer, text, pair, longest);
  }

  /** The mean of the last hidden states of a text, of length 1: [width]. */
  async embedding(text: LaidOutText): Promise<Float32Array> {
    this.#sums ??= this.#programs((source, texts) => hiddenSum(this.backbone, source, texts));
    return unitLength(await this.#sums.run(text));
  }

  override async dispose(): Promise<void> {
    await this.#sums?.[Symbol.asyncDispose]();
  }

  protected programs(result: (source: ParameterSource, texts: ClassifiedTexts) => Value): WholeTexts {
    return this.#programs(result);
  }
}

/** An encoder as it is opened. */
export class Encoder extends EncodingModel {
  readonly kind = 'encoder';
  readonly description: EncoderModel;

  constructor(parts: EncodingParts<EncoderModel>) {
    super(parts, parts.description);
    this.description = parts.description;
  }
}

/** A classifier as it is opened. */
export class ClassifyingModel extends EncodingModel {
  readonly kind = 'classifier';
  readonly description: Classifier;
  readonly #classes: WholeTexts;

  constructor(parts: EncodingParts<Classifier>) {
    super(parts, parts.description.model);
    const { description } = parts;
    this.description = description;
    this.#classes = this.programs((source, texts) => description.classLogits(source, texts));
  }

  override async classify(text: string, pair?: string): Promise<Classification> {
    requireText(text, 'the text');
    if (pair !== undefined) requireText(pair, 'the second text');
    const laidOut = this.layOut(text, pair, this.longest);
    if (laidOut.tokens.length === 0) {
      throw new LinnetError('INPUT', 'the text to classify has no token; give some text');
    }
    return classification(this.description, await this.logits(laidOut));
  }

  /** Logits [classes] of a text. */
  logits(text: LaidOutText): Promise<Float32Array> {
    return this.#classes.run(text);
  }

  override async dispose(): Promise<void> {
    await this.#classes[Symbol.asyncDispose]();
    await super.dispose();
  }
}

/** Classification from logits: softmax over the classes, in float64; the number of a regression head. */
export function classification(
  { labels, isRegression }: Pick<Classifier, 'labels' | 'isRegression'>,
  logits: Float32Array,
): Classification {
  const peak = logits.reduce((largest, logit) => Math.max(largest, logit), Number.NEGATIVE_INFINITY);
  const weights = Array.from(logits, (logit) => Math.exp(logit - peak));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const classes = labels.map((label, id) => ({ label, probability: weights[id] / total }));
  const best = classes.reduce((one, other) => (other.probability > one.probability ? other : one));
  return { ...best, classes, ...(isRegression && { value: logits[0] }) };
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
