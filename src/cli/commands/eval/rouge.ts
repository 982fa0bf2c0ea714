/** `linnet eval rouge`: how much of reference summaries predicted ones have. */
import { LinnetError } from '../../../errors.ts';
import { isJsonObject, parseJson } from '../../../files/json-object.ts';
import { readLines } from '../../../data/files/text-file.ts';
import { confidenceInterval } from '../../../evaluation/tasks/metrics/statistics.ts';
import { average } from '../../../report/statistics.ts';
import { rouge, type RougeKind, rougeKinds, type RougeScore } from '../../../evaluation/tasks/rouge/rouge.ts';
import { fixed, formatCount } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { defineCommand, flag, required, withDefault, settings } from '../../framework/command.ts';
import { called, filePath, integer, seed32, text } from '../../framework/option-values.ts';

const numbers = ['precision', 'recall', 'fmeasure', 'low', 'high'] as const;
type Row = { readonly kind: RougeKind } & Readonly<Record<(typeof numbers)[number], number>>;

const columns: readonly Column<Row>[] = [
  { header: 'ROUGE', value: 'kind' },
  ...numbers.map((key) => ({ header: key, value: (row: Row) => row[key], format: fixed(4) })),
];

export const evalRouge = defineCommand({
  description:
    'Scores predicted summaries against references by ROUGE-1, -2, -L and -Lsum, following the rouge-score package: means over all pairs, and the 95 % ' +
    'interval of the F-measure from resampled pairs. Files have one text per line (.txt), or JSON objects with a field (.jsonl). Line breaks separate ' +
    'sentences; .jsonl can hold them.',
  examples: [
    'linnet eval rouge --predictions predicted.jsonl --references references.jsonl',
    'linnet eval rouge --predictions predicted.txt --references references.txt --stemmer --json',
  ],
  arguments: {},
  options: {
    predictions: required(filePath, 'predicted summaries'),
    references: required(filePath, 'reference summaries, in the same order'),
    stemmer: flag('compare the stems of words'),
    ...settings({
      field: withDefault(called('name', text), 'text', 'field of .jsonl objects'),
      resamples: withDefault(integer(1, 100_000), 1000, 'resamples for the interval'),
      seed: withDefault(seed32, 1234, 'seed of the resamples'),
    }),
  },
  writesResults: true,
  async run(context, { predictions, references, field, stemmer, resamples, seed }) {
    const predictionTexts = await readTexts(predictions, field);
    const wanted = await readTexts(references, field);
    if (predictionTexts.length !== wanted.length || predictionTexts.length === 0) {
      const counts = `${predictions} has ${predictionTexts.length} texts, ${references} ${wanted.length}`;
      throw new LinnetError('INPUT', `${counts}; expected as many, at least one`);
    }
    const rows = rougeKinds.map((kind): Row => {
      const scores = predictionTexts.map((prediction, index) => rouge(kind, wanted[index], prediction, { stemmer }));
      const of = (part: keyof RougeScore): number[] => scores.map((score) => score[part]);
      return {
        kind,
        precision: average(of('precision')),
        recall: average(of('recall')),
        fmeasure: average(of('fmeasure')),
        ...confidenceInterval(of('fmeasure'), { resamples, seed }),
      };
    });
    context.table(rows, columns);
    context.print(`\n${formatCount(predictionTexts.length, 'text')}`);
    const byKind: Record<string, unknown> = Object.fromEntries(rows.map(({ kind, ...values }) => [kind, values]));
    return { json: { ...byKind, texts: predictionTexts.length } };
  },
});

async function readTexts(file: string, field: string): Promise<string[]> {
  const isJson = file.toLowerCase().endsWith('.jsonl');
  const texts: string[] = [];
  for await (const { text: line, number } of readLines(file, 16 << 20)) {
    if (isJson && line.trim() === '') continue;
    texts.push(isJson ? fieldOf(line, field, `${file}:${number}`) : line);
  }
  return texts;
}

function fieldOf(line: string, field: string, source: string): string {
  const value = parseJson(line, source);
  if (typeof value === 'string') return value;
  const found = isJsonObject(value) && Object.hasOwn(value, field) ? value[field] : undefined;
  if (typeof found === 'string') return found;
  throw new LinnetError('FORMAT', `${source} has no text "${field}"; name its field with --field`);
}
