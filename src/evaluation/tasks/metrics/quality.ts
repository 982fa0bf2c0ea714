/** Metrics of predicted classes or numbers by scikit-learn's conventions: GLUE's measures, and the confusion matrix. */
import { pearson, spearman } from './statistics.ts';
import { average, meanError } from '../../../report/statistics.ts';

/** How good predicted classes are. */
export type AccuracyResult = ReturnType<typeof classQuality>;

/** Results for one class. */
export type ClassAccuracy = AccuracyResult['classes'][number];

/** How good predicted numbers are. */
export type RegressionResult = ReturnType<typeof numberQuality>;

/**
 * The quality of predicted classes.
 * @param gold true class ids; at least one
 * @param predicted predicted class ids
 * @example
 * ```ts
 * const { matthews } = classQuality(['no', 'yes'], [0, 1, 1], [0, 1, 0]);
 * ```
 */
export function classQuality(labels: readonly string[], gold: readonly number[], predicted: readonly number[]) {
  const confusion = labels.map(() => labels.map(() => 0));
  gold.forEach((truth, i) => confusion[truth][predicted[i]]++);
  const counts = countClasses(gold, predicted);
  const classes = labels.map((label, id) => {
    const { correct, actual, predicted: taken } = counts.get(id) ?? unseen;
    return {
      label,
      texts: actual,
      /** Texts predicted as this class. */
      predicted: taken,
      /** Texts of this class predicted as such. */
      correct,
      f1: f1(counts.get(id)),
    };
  });
  const correct = classes.reduce((sum, each) => sum + each.correct, 0);
  return {
    accuracy: correct / gold.length,
    /** Sample deviation / √texts; NaN for one text. */
    standardError: meanError(gold.map((truth, i) => Number(truth === predicted[i]))),
    texts: gold.length,
    correct,
    /** F1 of the second of two classes, GLUE's positive one; absent for any other number of classes. */
    ...(labels.length === 2 && { f1: classes[1].f1 }),
    /** Mean F1 of the classes that occur. */
    f1Macro: average([...counts.values()].map(f1)),
    matthews: matthews(gold, predicted),
    /** In label order. */
    classes,
    /** Texts of each class (rows) predicted as each class (columns). */
    confusion,
  };
}

/** The quality of predicted numbers, by STS-B's measures. */
export function numberQuality(gold: readonly number[], predicted: readonly number[]) {
  return {
    texts: gold.length,
    pearson: pearson(gold, predicted),
    spearman: spearman(gold, predicted),
    meanSquaredError: gold.reduce((sum, truth, i) => sum + (predicted[i] - truth) ** 2, 0) / gold.length,
  };
}

interface ClassCounts {
  correct: number;
  actual: number;
  predicted: number;
}

const unseen: Readonly<ClassCounts> = { correct: 0, actual: 0, predicted: 0 };

/** F1 of the second of two classes. */
export function f1Of(gold: ArrayLike<number>, predicted: ArrayLike<number>): number {
  return f1(countClasses(gold, predicted).get(1));
}

/** 2·correct / (actual + predicted); 0 if neither occurs. */
function f1({ correct, actual, predicted } = unseen): number {
  return correct === 0 ? 0 : (2 * correct) / (actual + predicted);
}

/** Matthews correlation over any number of classes (Gorodkin, 2004); 0 if undefined. */
export function matthews(gold: ArrayLike<number>, predicted: ArrayLike<number>): number {
  const n = gold.length;
  let right = 0;
  let products = 0;
  let actualSquares = 0;
  let predictedSquares = 0;
  for (const { correct, actual, predicted: taken } of countClasses(gold, predicted).values()) {
    right += correct;
    products += actual * taken;
    actualSquares += actual * actual;
    predictedSquares += taken * taken;
  }
  const denominator = (n * n - predictedSquares) * (n * n - actualSquares);
  return denominator === 0 ? 0 : (right * n - products) / Math.sqrt(denominator);
}

function countClasses(gold: ArrayLike<number>, predicted: ArrayLike<number>): Map<number, ClassCounts> {
  const counts = new Map<number, ClassCounts>();
  const of = (label: number): ClassCounts => {
    const known = counts.get(label) ?? { ...unseen };
    counts.set(label, known);
    return known;
  };
  for (let i = 0; i < gold.length; i++) {
    of(gold[i]).actual++;
    of(predicted[i]).predicted++;
    if (gold[i] === predicted[i]) of(gold[i]).correct++;
  }
  return counts;
}
