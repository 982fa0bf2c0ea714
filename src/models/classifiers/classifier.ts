/**
 * Any model as a text classifier: the backbone with one logit per class instead of the token head. Folders follow Hugging
 * Face's `ForSequenceClassification` models; a family's folder defines its classifier (`asClassifier`).
 */
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { type DeclaredParameters, type ParameterSource, consequencesOf } from '../../nn/parameters.ts';
import { labelFields } from '../config-fields.ts';
import type { ClassifiedTexts, ModelDescription } from '../model.ts';
import { describeModel, type Model } from '../families/index.ts';
import type { JsonObject } from '../../files/json-object.ts';

export type { ClassifiedTexts } from '../model.ts';

/** A model that assigns texts to classes or, with a single label (a regression head), predicts a number. */
export interface ClassifierModel extends Pick<ModelDescription, 'parameters' | 'toJson' | 'parameterName'> {
  /** The backbone's model. */
  readonly model: Model;
  /** Class names in the order of the logits; for a regression head the number's name. */
  readonly labels: readonly string[];
  /** The parameters that the backbone lacks. */
  readonly headParameters: DeclaredParameters;
  /** The name under which Hugging Face's class stores a parameter. */
  readonly storedName: (parameter: string) => string;
  /** Whether it predicts a number: `problem_type` "regression", a single label. */
  readonly isRegression: boolean;
  /** Logits [B,classes]; for a regression head the number [B,1]. */
  classLogits(source: ParameterSource, texts: ClassifiedTexts): Value;
}

/** Default name of a regression head's output, as in Python. */
export const regressionLabel = 'LABEL_0';

/**
 * The model as a classifier; with one label a regression head, as in transformers.
 * @throws LinnetError `CONFIG` for missing or repeated labels
 */
export function classifier(given: Model, labels: readonly string[]): ClassifierModel {
  if (labels.length === 0 || new Set(labels).size !== labels.length) {
    throw new LinnetError(
      'CONFIG',
      `a classifier needs at least two different labels, or one for regression; got ${JSON.stringify(labels)}`,
    );
  }
  const isRegression = labels.length === 1;
  const { model, className, head, storedPrefix = '', logits } = given.asClassifier(labels);
  const backbone = [...model.parameters].filter(([, { role }]) => consequencesOf(role).predictsTokens !== true);
  return {
    model,
    labels,
    isRegression,
    headParameters: head,
    parameters: new Map([...backbone, ...head]),
    toJson: () => ({
      ...model.toJson(),
      architectures: [`${className}ForSequenceClassification`],
      num_labels: labels.length,
      problem_type: isRegression ? 'regression' : 'single_label_classification',
      ...labelFields(labels),
    }),
    parameterName: (stored) => {
      const name = stored.startsWith(storedPrefix) ? stored.slice(storedPrefix.length) : stored;
      return head.has(name) ? name : model.parameterName(name);
    },
    storedName: (parameter) => (head.has(parameter) ? parameter : storedPrefix + parameter),
    classLogits: logits,
  };
}

/** Whether a config.json belongs to a classifier. */
export function isClassifierConfig({ architectures }: JsonObject): boolean {
  return (
    Array.isArray(architectures) && architectures.some((name) => String(name).endsWith('ForSequenceClassification'))
  );
}

/**
 * The classifier that a config.json describes.
 * @throws LinnetError `CONFIG` for another task's model, and like `describeModel`
 */
export function describeClassifier(json: JsonObject): ClassifierModel {
  if (!isClassifierConfig(json)) {
    throw new LinnetError(
      'CONFIG',
      'the model is not a classifier: its configuration names no architecture …ForSequenceClassification; ' +
        '"linnet finetune MODEL --objective classify" makes it one',
    );
  }
  const labels = labelsOf(json);
  const { problem_type: problem } = json;
  if (problem === 'multi_label_classification' || (problem === 'regression' && labels.length > 1)) {
    const numbers = problem === 'regression' ? ` of ${labels.length} numbers` : '';
    throw new LinnetError(
      'CONFIG',
      `config.json: problem_type is "${problem}"${numbers}; classifiers predict one class of several, or one number`,
    );
  }
  return classifier(describeModel(json), labels);
}

/** Labels by id; unnamed ones are LABEL_0, LABEL_1, … as in Python. */
function labelsOf({ id2label, num_labels: count }: JsonObject): string[] {
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
