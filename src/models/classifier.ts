/**
 * A model as a classifier of texts, of every kind: the backbone with one logit per class in place of the head that predicts
 * tokens. Folders are those of Hugging Face's `ForSequenceClassification` models; what a family's classifier is, its folder
 * says (`asClassifier`).
 */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { consequencesOf, type DeclaredParameters } from '../nn/parameter-roles.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { ClassifiedTexts } from './classifier-parts.ts';
import { describeModel, type Model } from './families.ts';
import type { ModelDescription } from './model.ts';

export type { ClassifiedTexts } from './classifier-parts.ts';

/** A model that tells classes of texts apart. */
export interface Classifier extends Pick<ModelDescription, 'parameters' | 'toJson' | 'parameterName'> {
  /** The model whose backbone it is. */
  readonly model: Model;
  /** Names of the classes, in the order of the logits. */
  readonly labels: readonly string[];
  /** The parameters that the backbone does not have. */
  readonly headParameters: DeclaredParameters;
  /** The name that Hugging Face's class stores a parameter under. */
  readonly storedName: (parameter: string) => string;
  /** Logits [B,classes]. */
  classLogits(source: ParameterSource, texts: ClassifiedTexts): Value;
}

/**
 * The model as a classifier. @throws LinnetError `CONFIG` for fewer than two labels or equal ones
 * @example
 * ```ts
 * const reported = classifier(describeModel(modelPreset('llama-2-7b')), ['good', 'bad']);
 * ```
 */
export function classifier(given: Model, labels: readonly string[]): Classifier {
  if (labels.length < 2 || new Set(labels).size !== labels.length) {
    throw new LinnetError('CONFIG', `a classifier needs two different labels or more, got ${JSON.stringify(labels)}`);
  }
  const { model, className, head, storedPrefix = '', logits } = given.asClassifier(labels);
  const backbone = [...model.parameters].filter(([, { role }]) => consequencesOf(role).predictsTokens !== true);
  return {
    model,
    labels,
    headParameters: head,
    parameters: new Map([...backbone, ...head]),
    toJson: () => ({
      ...model.toJson(),
      architectures: [`${className}ForSequenceClassification`],
      num_labels: labels.length,
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
    }),
    parameterName: (stored) => {
      const name = stored.startsWith(storedPrefix) ? stored.slice(storedPrefix.length) : stored;
      return head.has(name) ? name : model.parameterName(name);
    },
    storedName: (parameter) => (head.has(parameter) ? parameter : storedPrefix + parameter),
    classLogits: logits,
  };
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
