/** Quality of a classification from pairs of true and predicted classes, by the conventions of scikit-learn. */

interface ClassCounts {
  truePositives: number;
  actual: number;
  predicted: number;
}

/** Share of the items whose class was predicted. */
export function accuracyOf(gold: ArrayLike<number>, predicted: ArrayLike<number>): number {
  let right = 0;
  for (let i = 0; i < gold.length; i++) if (gold[i] === predicted[i]) right++;
  return right / gold.length;
}

/** F1 of one class, 2·TP/(actual + predicted); 0 where neither occurs. */
export function f1Of(gold: ArrayLike<number>, predicted: ArrayLike<number>, positive = 1): number {
  let both = 0;
  let either = 0;
  for (let i = 0; i < gold.length; i++) {
    if (gold[i] === positive && predicted[i] === positive) both++;
    either += Number(gold[i] === positive) + Number(predicted[i] === positive);
  }
  return either === 0 ? 0 : (2 * both) / either;
}

/** F1 over the classes that occur: mean, mean weighted by items, and F1 of all decisions together. */
export function f1Averages(
  gold: ArrayLike<number>,
  predicted: ArrayLike<number>,
): { readonly macro: number; readonly weighted: number; readonly micro: number } {
  const classes = [...countClasses(gold, predicted).values()].map((counts) => ({
    ...counts,
    f1: (2 * counts.truePositives) / (counts.actual + counts.predicted),
  }));
  return {
    macro: classes.reduce((sum, { f1 }) => sum + f1, 0) / classes.length,
    weighted: classes.reduce((sum, { f1, actual }) => sum + f1 * actual, 0) / gold.length,
    micro: accuracyOf(gold, predicted),
  };
}

/** Matthews's correlation over any number of classes (Gorodkin, 2004); 0 where it is undefined. */
export function matthews(gold: ArrayLike<number>, predicted: ArrayLike<number>): number {
  const n = gold.length;
  let right = 0;
  let products = 0;
  let actualSquares = 0;
  let predictedSquares = 0;
  for (const { truePositives, actual, predicted: taken } of countClasses(gold, predicted).values()) {
    right += truePositives;
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
    const known = counts.get(label) ?? { truePositives: 0, actual: 0, predicted: 0 };
    counts.set(label, known);
    return known;
  };
  for (let i = 0; i < gold.length; i++) {
    of(gold[i]).actual++;
    of(predicted[i]).predicted++;
    if (gold[i] === predicted[i]) of(gold[i]).truePositives++;
  }
  return counts;
}
