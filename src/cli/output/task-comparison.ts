/** The table of `eval tasks` for several models: each metric with its error, and the difference from the first model. */
import type { ComparedMetric, ComparedTask, MeasuredValue } from '../../evaluation/tasks/comparison/compare.ts';
import { type Column, makeTable, spreadColumn, type Table } from '../../report/table.ts';

/** Distinct names of models: their folders, without the common beginning. */
function shortNames(models: readonly string[]): string[] {
  const parts = models.map((model) => model.split(/[\\/]/).filter((part) => part !== ''));
  let shared = 0;
  const [first] = parts;
  while (parts.every((folders) => folders.length > shared + 1 && folders[shared] === first[shared])) shared++;
  const names = parts.map((folders) => folders.slice(shared).join('/'));
  return names.map((name, index) => (names.indexOf(name) === index ? name : `${name} (${index + 1})`));
}

function withError(measured: MeasuredValue | undefined): readonly [value: number, error?: number] | undefined {
  return measured && [measured.value, measured.error];
}

/** @param models folders or names, in the order of the values */
export function comparisonTable(tasks: readonly ComparedTask[], models: readonly string[]): Table {
  const names = shortNames(models);
  const columns: Column<ComparedMetric>[] = [
    { header: 'task', value: 'task' },
    { header: 'metric', value: ({ key }) => key.replace(/,none$/, '') },
    { header: '', value: ({ higherIsBetter }) => (higherIsBetter ? '↑' : '↓') },
    ...names.map((name, index) => spreadColumn<ComparedMetric>(name, ({ values }) => withError(values[index]), 4)),
    ...names.slice(1).map((name, index) => {
      const of = ({ differences }: ComparedMetric) => withError(differences[index]);
      return spreadColumn(`${name} − ${names[0]}`, of, 4, true);
    }),
    ...names.slice(1).map(
      (name, index): Column<ComparedMetric> => ({
        header: `${name} better, worse`,
        value: ({ differences: { [index]: difference } }) =>
          difference && `${difference.better}, ${difference.worse} of ${difference.questions}`,
      }),
    ),
  ];
  return makeTable(
    columns,
    tasks.flatMap((task) => task.metrics),
  );
}
