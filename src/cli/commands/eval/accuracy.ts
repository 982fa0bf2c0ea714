/** `linnet eval accuracy`: how often a classifier is right on labelled texts, and how close a regression head comes. */
import { openClassifierWeights } from '../../../checkpoint/load-classifier.ts';
import { readParameters } from '../../../checkpoint/load-model.ts';
import { segmentWeights } from '../../../checkpoint/stored-parameter.ts';
import { LabelledDataset, labelledFields, labelShape, readLabelledTexts } from '../../../data/datasets/labelled.ts';
import { accuracy, accuracyMemory, regression } from '../../../evaluation/tasks/accuracy.ts';
import { chooseForm } from '../../../training/memory-form.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import { defineCommand, engineOptions, optional, required, requiredList } from '../../framework/command.ts';
import { called, integer, path } from '../../framework/option-values.ts';
import { formOptions } from '../../options/memory-option.ts';
import { modelFolder } from '../../options/model-options.ts';
import { optionsOf } from '../../framework/schema-options.ts';
import type { AccuracyResult, ClassAccuracy, RegressionResult } from '../../../evaluation/tasks/metrics/quality.ts';
import { fixed, formatCount, formatFixed, formatPercent } from '../../../report/quantities.ts';
import { reportForms } from '../../output/training-report.ts';
import type { CommandContext } from '../../framework/context.ts';

/** As in the paper's classification of texts. */
const defaultLength = 256;

export const evalAccuracy = defineCommand({
  description:
    'Measures a classifier from finetune --objective classify on labeled texts it was not trained on: ' +
    "accuracy with its standard error, F1, Matthews's correlation, and a confusion table. A regression head " +
    "from finetune --objective regress is measured by Pearson's and Spearman's correlations.",
  examples: [
    'linnet eval accuracy runs/sentiment --data dev.tsv --text-field sentence',
    'linnet eval accuracy runs/news --data test.csv --text-field 3 --label-field 1 --json',
    'linnet eval accuracy runs/stsb --data validation.parquet --text-field sentence1 --pair-field sentence2',
  ],
  arguments: { model: required(modelFolder, 'folder of the classifier') },
  options: {
    data: requiredList(called('files', path), '.jsonl, .csv, .tsv or .parquet files'),
    ...optionsOf(labelShape),
    length: optional(
      integer(1, 1 << 20, 'tokens'),
      `cut longer texts to this (default: ${defaultLength}, or the model's length if shorter)`,
    ),
    ...formOptions,
    ...engineOptions,
  },
  writesResults: true,
  async run(context, { model: folder, data, length: given, memory, plan: onlyPlan, device, threads, ...fields }) {
    await using weights = await openClassifierWeights(folder);
    const { model } = weights;
    const length = given ?? Math.min(defaultLength, model.model.sizes.trainedLength);
    const bytes = (count: number) => accuracyMemory(model, { count, length }, segmentWeights(weights.parameters));
    const choose = (count: number) => chooseForm(`measuring ${folder}`, bytes(count), memory, ['a smaller `length`']);
    choose(1);
    const texts = await readLabelledTexts(data, labelledFields(fields));
    const plan = choose(texts.length);
    if (onlyPlan) return reportForms(context, [{ name: 'accuracy', ...plan }], memory);
    const parameters = plan.form === 'whole' ? await readParameters(weights) : weights.parameters;
    const labels = model.isRegression ? undefined : model.labels;
    const options = { layout: model.model.kind, labels, length };
    const dataset = new LabelledDataset(texts, await loadTokenizer(weights.path), options);
    const quality = await context.withProgress('accuracy', 'texts', async (hooks) => {
      const measure = model.isRegression ? regression : accuracy;
      return await measure(model, parameters, dataset, { compile: { device, threads }, ...hooks });
    });
    if ('pearson' in quality) printRegression(context, quality);
    else printQuality(context, quality);
    return { json: { ...quality, ...plan } };
  },
});

/** More classes than this make a table that nobody reads. */
const mostConfusedClasses = 12;

/** Accuracy, F1 and Matthews correlation, each class, and the confusion matrix of few classes. */
function printQuality(context: CommandContext, result: AccuracyResult): void {
  const { accuracy, standardError, correct, texts, f1, f1Macro, matthews, classes, confusion } = result;
  const error = Number.isFinite(standardError) ? ` ± ${formatPercent(standardError)}` : '';
  context.print(
    `accuracy ${formatPercent(accuracy)}${error}: ${formatCount(correct)} of ${formatCount(texts, 'text')}`,
  );
  const binary = f1 === undefined ? '' : `F1 of "${classes[1].label}" ${formatFixed(f1, 4)}, `;
  context.print(`${binary}F1 over classes ${formatFixed(f1Macro, 4)}, Matthews ${formatFixed(matthews, 4)}\n`);
  const counts = (['texts', 'predicted', 'correct'] as const).map((key) => ({
    header: key,
    value: (row: ClassAccuracy) => row[key],
  }));
  context.table(classes, [
    { header: 'class', value: 'label' },
    ...counts,
    { header: 'F1', value: 'f1', format: fixed(4) },
  ]);
  if (classes.length > mostConfusedClasses) return;
  const rows = confusion.map((taken, id) => ({ label: classes[id].label, taken }));
  context.print('\ntaken for (rows: the true classes)');
  context.table(rows, [
    { header: '', value: 'label' },
    ...classes.map(({ label }, id) => ({
      header: label,
      value: ({ taken }: (typeof rows)[number]) => taken[id],
    })),
  ]);
}

function printRegression(context: CommandContext, result: RegressionResult): void {
  const { pearson, spearman, meanSquaredError, texts } = result;
  context.print(
    `Pearson ${formatFixed(pearson, 4)}, Spearman ${formatFixed(spearman, 4)}, ` +
      `mean squared error ${formatFixed(meanSquaredError, 4)}; ${formatCount(texts, 'text')}`,
  );
}
