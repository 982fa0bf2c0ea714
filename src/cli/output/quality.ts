/** The quality of predicted classes and numbers, printed for people. */
import type { AccuracyResult, ClassAccuracy, RegressionResult } from '../../evaluation/tasks/metrics/quality.ts';
import { fixed, formatCount, formatFixed, formatPercent } from '../../report/quantities.ts';
import type { CommandContext } from '../framework/context.ts';

/** More classes than this make a table that nobody reads. */
const mostConfusedClasses = 12;

/** Accuracy, F1 and Matthews correlation, each class, and the confusion matrix of few classes. */
export function printQuality(context: CommandContext, result: AccuracyResult): void {
  const { accuracy, standardError, correct, texts, f1, f1Macro, matthews, classes, confusion } = result;
  const error = Number.isFinite(standardError) ? ` ± ${formatPercent(standardError)}` : '';
  context.print(`accuracy ${formatPercent(accuracy)}${error}: ${formatCount(correct)} of ${formatCount(texts)} texts`);
  const binary = f1 === undefined ? '' : `F1 of "${classes[1].label}" ${formatFixed(f1, 4)}, `;
  context.print(`${binary}F1 over classes ${formatFixed(f1Macro, 4)}, Matthews ${formatFixed(matthews, 4)}\n`);
  const counts = (['texts', 'predicted', 'correct'] as const).map((key) => ({
    header: key,
    value: (row: ClassAccuracy) => row[key],
  }));
  context.table(classes, [
    { header: 'class', value: ({ label }) => label },
    ...counts,
    { header: 'F1', value: (row) => row.f1, format: fixed(4) },
  ]);
  if (classes.length > mostConfusedClasses) return;
  const rows = confusion.map((taken, id) => ({ label: classes[id].label, taken }));
  context.print('\ntaken for (rows: the true classes)');
  context.table(rows, [
    { header: '', value: ({ label }) => label },
    ...classes.map(({ label }, id) => ({
      header: label,
      value: ({ taken }: (typeof rows)[number]) => taken[id],
    })),
  ]);
}

export function printRegression(context: CommandContext, result: RegressionResult): void {
  const { pearson, spearman, meanSquaredError, texts } = result;
  context.print(
    `Pearson ${formatFixed(pearson, 4)}, Spearman ${formatFixed(spearman, 4)}, ` +
      `mean squared error ${formatFixed(meanSquaredError, 4)}; ${formatCount(texts)} texts`,
  );
}
