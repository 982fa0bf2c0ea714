/** `linnet eval accuracy`: how often a classifier is right on labelled texts. */
import { loadClassifier } from '../../../checkpoint/load-classifier.ts';
import { LabelledDataset, labelledFields, readLabelledTexts } from '../../../data/labelled.ts';
import { accuracy, type ClassAccuracy } from '../../../evaluation/tasks/accuracy.ts';
import { formatCount, formatPercent } from '../../../report/quantities.ts';
import { makeTable, textTable } from '../../../report/table.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import { defineCommand, engineOptions, optional, requiredList } from '../../framework/command.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { labelOptions } from '../../options/label-options.ts';
import { integer, path } from '../../framework/option-values.ts';

/** As in the paper's classification of texts. */
const defaultLength = 256;

export const evalAccuracy = defineCommand({
  description:
    'Measures a classifier, as finetune --objective classify makes it, on labelled texts it was not trained on: the ' +
    'share of texts that it gets right, and for every class how many there are, how many are taken for it and how many ' +
    'of those are right.',
  examples: [
    'linnet eval accuracy runs/sentiment --data dev.tsv --text-field sentence',
    'linnet eval accuracy runs/news --data test.csv --text-field 3 --label-field 1 --json',
  ],
  arguments: { model: folderOf('the classifier') },
  options: {
    data: requiredList(path, { placeholder: 'files', description: '.jsonl, .csv or .tsv files' }),
    ...labelOptions,
    length: optional(integer({ min: 1, max: 1 << 20 }), {
      placeholder: 'tokens',
      description: `longer texts are cut to this (default: ${defaultLength}, or the model's length if that is less)`,
    }),
    ...engineOptions,
  },
  writesResults: true,
  async run(context, { model: folder, data, length, device, threads, ...fields }) {
    const { model, parameters, path: from } = await loadClassifier(folder);
    const texts = await readLabelledTexts(data, labelledFields(fields));
    const { kind: layout, sizes } = model.model;
    const options = { layout, labels: model.labels, length: length ?? Math.min(defaultLength, sizes.trainedLength) };
    const dataset = new LabelledDataset(texts, await loadTokenizer(from), options);
    const result = await context.withProgress('accuracy', 'texts', (progress) =>
      accuracy(model, parameters, dataset, {
        compile: { device, threads },
        signal: context.signal,
        onProgress: (done, total) => progress.update(done, total),
      }),
    );
    context.print(
      `accuracy ${formatPercent(result.accuracy)}: ${formatCount(result.correct)} of ${formatCount(result.texts)} texts`,
    );
    const columns = (['texts', 'predicted', 'correct'] as const).map((key) => ({
      header: key,
      value: (row: ClassAccuracy) => row[key],
    }));
    context.print(
      textTable(
        makeTable([{ header: 'class', value: ({ label }: ClassAccuracy) => label }, ...columns], result.classes),
      ),
    );
    return { json: { ...result } };
  },
});
