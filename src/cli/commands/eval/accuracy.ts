/** `linnet eval accuracy`: how often a classifier is right on labelled texts, and how close a regression head comes. */
import { loadClassifier } from '../../../checkpoint/load-classifier.ts';
import { LabelledDataset, labelledFields, labelShape, readLabelledTexts } from '../../../data/datasets/labelled.ts';
import { accuracy, type AccuracyOptions, regression } from '../../../evaluation/tasks/accuracy.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import { defineCommand, engineOptions, optional, requiredList } from '../../framework/command.ts';
import { called, integer, path } from '../../framework/option-values.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { optionsOf } from '../../framework/schema-options.ts';
import { printQuality, printRegression } from '../../output/quality.ts';

/** As in the paper's classification of texts. */
const defaultLength = 256;

export const evalAccuracy = defineCommand({
  description:
    'Measures a classifier, as finetune --objective classify makes it, on labelled texts it was not trained on: the ' +
    "share of texts that it gets right with its standard error, F1, Matthews's correlation, and which class is taken for " +
    'which. A regression head, as finetune --objective regress makes it, is measured by the correlations of Pearson and ' +
    'Spearman.',
  examples: [
    'linnet eval accuracy runs/sentiment --data dev.tsv --text-field sentence',
    'linnet eval accuracy runs/news --data test.csv --text-field 3 --label-field 1 --json',
    'linnet eval accuracy runs/stsb --data validation.parquet --text-field sentence1 --pair-field sentence2',
  ],
  arguments: { model: folderOf('the classifier') },
  options: {
    data: requiredList(called('files', path), '.jsonl, .csv, .tsv or .parquet files'),
    ...optionsOf(labelShape),
    length: optional(
      integer(1, 1 << 20, 'tokens'),
      `longer texts are cut to this (default: ${defaultLength}, or the model's length if that is less)`,
    ),
    ...engineOptions,
  },
  writesResults: true,
  async run(context, { model: folder, data, length, device, threads, ...fields }) {
    const { model, parameters, path: from } = await loadClassifier(folder);
    const texts = await readLabelledTexts(data, labelledFields(fields));
    const { kind: layout, sizes } = model.model;
    const labels = model.isRegression ? undefined : model.labels;
    const options = { layout, labels, length: length ?? Math.min(defaultLength, sizes.trainedLength) };
    const dataset = new LabelledDataset(texts, await loadTokenizer(from), options);
    const measured = <T>(measure: (options: AccuracyOptions) => Promise<T>): Promise<T> =>
      context.withProgress('accuracy', 'texts', (_, hooks) => measure({ compile: { device, threads }, ...hooks }));
    if (model.isRegression) {
      const quality = await measured((measuring) => regression(model, parameters, dataset, measuring));
      printRegression(context, quality);
      return { json: { ...quality } };
    }
    const quality = await measured((measuring) => accuracy(model, parameters, dataset, measuring));
    printQuality(context, quality);
    return { json: { ...quality } };
  },
});
