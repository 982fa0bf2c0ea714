/** The tables and the page of a study of classifiers. */
import type { Report } from '../../report/html.ts';
import { provenanceFacts } from '../../report/provenance.ts';
import { formatCount, formatFixed } from '../../report/quantities.ts';
import { type Column, makeTable, type Table } from '../../report/table.ts';
import type { ClassificationCell, ClassificationRow } from '../../studies/classification/results.ts';
import type { ClassificationStudy } from '../../studies/classification/study.ts';

/** The models of a study, in the order of its plan. */
export function modelsOf(rows: readonly ClassificationRow[]): string[] {
  return [...new Set(rows.map(({ model }) => model))];
}

/** Measures × 100, as GLUE is published: mean ± deviation over the seeds, two measures of a task with a slash. */
function spelled(cell: ClassificationCell | undefined): string | undefined {
  if (cell === undefined) return undefined;
  return Object.values(cell.measures)
    .map(({ mean, deviation }) => {
      const spread = Number.isFinite(deviation) ? ` ± ${formatFixed(100 * deviation, 2)}` : '';
      return `${formatFixed(100 * mean, 2)}${spread}`;
    })
    .join(' / ');
}

/** A line of a table: a task and what its numbers are, or the average. */
interface TaskLine {
  readonly task: string;
  readonly measures: string;
  readonly value: (row: ClassificationRow) => string | undefined;
}

/** One model: a task a row, a method a column; studies have more tasks than methods, and pages are narrow. */
export function classificationTable(rows: readonly ClassificationRow[], model: string): Table {
  const own = rows.filter((row) => row.model === model);
  const tasks = [...new Set(own.flatMap(({ cells }) => cells.map(({ task }) => task)))];
  const lines = tasks.map((task): TaskLine => {
    const [first] = own.flatMap(({ cells }) => cells.filter((cell) => cell.task === task));
    return {
      task,
      measures: Object.keys(first.measures).join(' / '),
      value: ({ cells }) => spelled(cells.find((cell) => cell.task === task)),
    };
  });
  const average: TaskLine = {
    task: 'average',
    measures: '',
    value: (row) => formatFixed(100 * row.average, 2),
  };
  return makeTable(
    [
      { header: 'task', value: ({ task }) => task },
      { header: 'measure', value: ({ measures }) => measures },
      ...own.map((row): Column<TaskLine> => ({ header: row.method, value: (line) => line.value(row), align: 'right' })),
    ],
    [...lines, average],
  );
}

/** The page. */
export function classificationReport(
  { plan, tasks, trials }: ClassificationStudy,
  rows: readonly ClassificationRow[],
): Report {
  const caption =
    'Percent: mean ± standard deviation over the seeds, of validation rows. A task with two measures counts with their ' +
    'mean in the average.';
  const budgets = new Map(
    trials.map(({ model, settings }) => {
      const { batch, length, learningRate, schedule, steps, epochs } = settings;
      const extent = steps === undefined ? `${epochs} epochs` : `${steps} steps`;
      return [model, `${extent} of ${batch} rows of at most ${length} tokens, rate ${learningRate}, ${schedule}`];
    }),
  );
  return {
    title: plan.title,
    subtitle: 'The same budget for every method of a model',
    sections: [
      ...modelsOf(rows).map((model) => ({
        title: model,
        blocks: [{ kind: 'table' as const, table: classificationTable(rows, model), caption }],
      })),
      {
        title: 'How it was measured',
        blocks: [
          {
            kind: 'facts' as const,
            facts: [
              ...tasks.map(
                ({ task, train, validation }) =>
                  [
                    task.name,
                    `${formatCount(train.length)} rows to train on, ${formatCount(validation.length)} measured`,
                  ] as const,
              ),
              ...[...budgets].map(([model, budget]) => [model, budget] as const),
              ['seeds', `${plan.seeds.join(', ')}: they draw heads, fresh weights and the order of the rows`] as const,
              ...provenanceFacts(),
            ],
          },
        ],
      },
    ],
    footer: 'Made by linnet sweep.',
  };
}
