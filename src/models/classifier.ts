/**
 * A model as a classifier of texts, of every kind: the trunk with one logit per class in place of the head that predicts
 * tokens. Folders are those of Hugging Face's `ForSequenceClassification` models.
 */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { int32 } from '../graph/tensor.ts';
import type { ParameterShapes, ParameterSource } from '../nn/parameters.ts';
import { bertClassifier, bertClassifierParameters, bertClassLogits } from './bert/classifier.ts';
import { classLogits as causalClassLogits, scoreParameters } from './classification.ts';
import { describeModel, type Model } from './families.ts';
import type { CausalModel, EncoderDecoderModel, EncoderModel, ModelDescription } from './model.ts';
import { t5ClassLogits, t5ClassParameters } from './t5/classifier.ts';

/** Texts to be classified, padded at the end. */
export interface ClassifiedTexts {
  /** int32 [B,n] of static shape. */
  readonly tokens: Value;
  /** float32 [B,n]: 0 for padding. */
  readonly mask: Value;
  /** int32 [B]: the place of the last token of every text in its row, from 0. */
  readonly last: Value;
  /** int32 [B,n]: which of two texts a token belongs to; read by encoders alone. */
  readonly segments?: Value;
}

/** A model that tells classes of texts apart. */
export interface Classifier extends Pick<ModelDescription, 'parameters' | 'toJson' | 'parameterName'> {
  /** The model whose trunk it is. */
  readonly model: Model;
  /** Names of the classes, in the order of the logits. */
  readonly labels: readonly string[];
  /** Names and shapes of the parameters that the trunk does not have. */
  readonly headParameters: ParameterShapes;
  /** The name that Hugging Face's class stores a parameter under. */
  readonly storedName: (parameter: string) => string;
  /** Logits [B,classes]. */
  classLogits(source: ParameterSource, texts: ClassifiedTexts): Value;
}

/** How a kind of model becomes a classifier. */
interface ClassifierKind<Described extends Model> {
  /** The model without the head that predicts tokens, where a family has such a model. */
  readonly trunk: (model: Described, labels: readonly string[]) => Described;
  readonly head: (model: Described, classes: number) => ParameterShapes;
  readonly logits: (model: Described, source: ParameterSource, texts: ClassifiedTexts, classes: number) => Value;
  /** Put before the names of stored parameters of the trunk. */
  readonly storedPrefix?: string;
}

const causalKind: ClassifierKind<CausalModel> = {
  trunk: (model) => model,
  head: scoreParameters,
  logits: (model, source, { tokens, last }, classes) =>
    causalClassLogits(model, source, tokens, placesInBatch(tokens, last), classes),
};

const encoderKind: ClassifierKind<EncoderModel> = {
  trunk: bertClassifier,
  head: bertClassifierParameters,
  logits: (model, source, texts, classes) => bertClassLogits(model, source, texts, classes),
};

/** Hugging Face's class holds the whole model under a name of its own. */
const encoderDecoderKind: ClassifierKind<EncoderDecoderModel> = {
  trunk: (model) => model,
  head: t5ClassParameters,
  logits: (model, source, { tokens, mask, last }, classes) =>
    t5ClassLogits(model, source, { tokens, mask, ends: placesInBatch(tokens, last) }, classes),
  storedPrefix: 'transformer.',
};

/** Names of Hugging Face's classes by `model_type`; FLASH has none there. */
const classNames: Readonly<Record<string, string>> = {
  bert: 'Bert',
  flash: 'Flash',
  gpt2: 'GPT2',
  llama: 'Llama',
  t5: 'T5',
};

/** What predicts tokens and has no place in a classifier, in the families whose trunk does not know. */
const tokenHead = /^(lm_head|to_logits\.1)\./;

/**
 * The model as a classifier. @throws LinnetError `CONFIG` for fewer than two labels or equal ones
 * @example
 * ```ts
 * const told = classifier(model, ['good', 'bad']);
 * ```
 */
export function classifier(model: Model, labels: readonly string[]): Classifier {
  if (labels.length < 2 || new Set(labels).size !== labels.length) {
    throw new LinnetError('CONFIG', `a classifier needs two different labels or more, got ${JSON.stringify(labels)}`);
  }
  if (model.kind === 'causal') return describe(causalKind, model, labels);
  if (model.kind === 'encoder') return describe(encoderKind, model, labels);
  return describe(encoderDecoderKind, model, labels);
}

function describe<Described extends Model>(
  kind: ClassifierKind<Described>,
  given: Described,
  labels: readonly string[],
): Classifier {
  const model = kind.trunk(given, labels);
  const headParameters = kind.head(model, labels.length);
  const trunk = [...model.parameters].filter(([name]) => !tokenHead.test(name));
  const { storedPrefix = '' } = kind;
  return {
    model,
    labels,
    headParameters,
    parameters: new Map([...trunk, ...headParameters]),
    toJson: () => ({
      ...model.toJson(),
      architectures: [`${classNames[model.family]}ForSequenceClassification`],
      num_labels: labels.length,
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
    }),
    parameterName: (stored) => {
      const name = stored.startsWith(storedPrefix) ? stored.slice(storedPrefix.length) : stored;
      return headParameters.has(name) ? name : model.parameterName(name);
    },
    storedName: (parameter) => (headParameters.has(parameter) ? parameter : storedPrefix + parameter),
    classLogits: (source, texts) => kind.logits(model, source, texts, labels.length),
  };
}

/** Places in rows as places in the batch: b·n + t. */
function placesInBatch(tokens: Value, last: Value): Value {
  const [B, n] = tokens.shape.map(Number);
  const starts = Int32Array.from({ length: B }, (_, row) => row * n);
  return add(last, tokens.graph.constant(int32([B], starts)));
}

/** Whether a config.json is that of a classifier. */
export function isClassifierConfig({ architectures }: Readonly<Record<string, unknown>>): boolean {
  return (
    Array.isArray(architectures) && architectures.some((name) => String(name).endsWith('ForSequenceClassification'))
  );
}

/**
 * The classifier that a config.json describes.
 * @throws LinnetError `CONFIG` for a model of another task, and what `describeModel` throws
 * @example
 * ```ts
 * const { labels } = describeClassifier(json);
 * ```
 */
export function describeClassifier(json: Readonly<Record<string, unknown>>): Classifier {
  if (!isClassifierConfig(json)) {
    throw new LinnetError(
      'CONFIG',
      'config.json names no architecture …ForSequenceClassification; train one with finetune --objective classify',
    );
  }
  return classifier(describeModel(json), labelsOf(json));
}

/** Labels by id; LABEL_0, LABEL_1, … as in Python where they have no names. */
function labelsOf({ id2label, num_labels: count }: Readonly<Record<string, unknown>>): string[] {
  if (typeof id2label === 'object' && id2label !== null && !Array.isArray(id2label)) {
    const names = new Map<string, unknown>(Object.entries(id2label));
    return Array.from({ length: names.size }, (_, id) => {
      const name = names.get(String(id));
      if (typeof name === 'string' || typeof name === 'number') return String(name);
      throw new LinnetError('CONFIG', `config.json: id2label has ${names.size} entries, but no name for ${id}`);
    });
  }
  const classes = typeof count === 'number' && Number.isInteger(count) && count > 0 && count <= 1e6 ? count : 2;
  return Array.from({ length: classes }, (_, id) => `LABEL_${id}`);
}
