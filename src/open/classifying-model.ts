/** An opened classifier, and an opened encoder, which has nothing but its weights. For Node. */
import { LinnetError } from '../errors.ts';
import { requireText } from '../files/arguments.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Classifier } from '../models/classifiers/classifier.ts';
import type { EncoderModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { type Classification, type ModelOrigin, Opened } from './opened-model.ts';
import { layOutText, longestText, WholeTexts } from './whole-texts.ts';

/** An encoder as it is opened. */
export class EncodingModel extends Opened {
  readonly kind = 'encoder';
  readonly description: EncoderModel;

  constructor(origin: ModelOrigin, description: EncoderModel) {
    super(origin);
    this.description = description;
  }
}

/** What a classifier is made of. */
export interface ClassifyingParts extends ModelOrigin {
  readonly description: Classifier;
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly compile: CompileOptions;
}

/** A classifier as it is opened. */
export class ClassifyingModel extends Opened {
  readonly kind = 'classifier';
  readonly description: Classifier;
  readonly #texts: WholeTexts;
  readonly #longest: number;

  constructor(parts: ClassifyingParts) {
    super(parts);
    const { description, tokenizer, parameters, compile } = parts;
    this.description = description;
    this.#longest = longestText(description.model);
    this.#texts = new WholeTexts(this.#longest, tokenizer?.padId ?? tokenizer?.eosId ?? 0, {
      ...{ parameters, compile },
      result: (source, texts) => description.classLogits(source, texts),
    });
  }

  override async classify(text: string, pair?: string): Promise<Classification> {
    requireText(text, 'the text');
    if (pair !== undefined) requireText(pair, 'the second text');
    const laidOut = layOutText(this.description.model, this.tokenizer, { text, pair }, this.#longest);
    if (laidOut.tokens.length === 0) {
      throw new LinnetError('INPUT', 'the text to classify has no token; give some text');
    }
    return classification(this.description, await this.#texts.run(laidOut));
  }

  override async dispose(): Promise<void> {
    await this.#texts[Symbol.asyncDispose]();
  }
}

/** What the logits of a classifier say: softmax over the classes, in float64; the number of a regression head. */
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
