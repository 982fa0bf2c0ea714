/** Results of classifiers: a table a model, a row a task, a column a method; means over the seeds. */
import { average, groupedBy } from '../../report/statistics.ts';
import { formatFixed, formatSpread } from '../../report/quantities.ts';
import { type Column, makeTable, type Table } from '../../report/table.ts';
import { type OverSeeds, overSeeds, resultSection } from '../frame/study-report.ts';
import type { SweepResult } from './plan.ts';
import type { SweepFindings } from './report.ts';

type ClassificationRow = ReturnType<typeof summarize>[number];

function summarize(results: readonly SweepResult[]) {
  return groupedBy(results, ({ model, method }) => JSON.stringify([model, method])).map((group) => {
    const cells = groupedBy(group, ({ task = '' }) => task).map((trials) => {
      const measured = trials.flatMap(({ measures = {} }) => Object.entries(measures));
      const measures = Object.fromEntries(
        groupedBy(measured, ([name]) => name).map((same) => [same[0][0], overSeeds(same.map(([, value]) => value))]),
      );
      // A task's score is the mean of its measures; the average is the mean of the scores, as in GLUE.
      return { task: trials[0].task ?? '', measures, score: average(Object.values(measures).map(({ mean }) => mean)) };
    });
    return { model: group[0].model, method: group[0].method, cells, average: average(cells.map(({ score }) => score)) };
  });
}

export function classificationFindings(results: readonly SweepResult[]): SweepFindings {
  const rows = summarize(results);
  const caption =
    'Percent on validation rows: mean ± standard deviation over the seeds. A task with two measures counts with their ' +
    'mean in the average.';
  return {
    json: { rows, trials: results },
    sections: groupedBy(rows, ({ model }) => model).map((group) =>
      resultSection(group[0].model, [], taskTable(group), caption),
    ),
  };
}

/** Measures × 100, as GLUE is published; two measures of a task with a slash. */
function spelled(measures: Readonly<Record<string, OverSeeds>>): string {
  const percent = ({ mean, deviation }: OverSeeds): string => formatSpread(100 * mean, 100 * deviation, 2);
  return Object.values(measures).map(percent).join(' / ');
}

/** One model: a task a row, a method a column; studies have more tasks than methods, and pages are narrow. */
function taskTable(group: readonly ClassificationRow[]): Table {
  const all = group.flatMap(({ cells, method }) => cells.map((cell) => ({ ...cell, method })));
  const tasks = groupedBy(all, ({ task }) => task);
  const lines = tasks.map((cells) => ({
    task: cells[0].task,
    measures: Object.keys(cells[0].measures).join(' / '),
    values: new Map(cells.map(({ method, measures }) => [method, spelled(measures)])),
  }));
  const averages = group.map((row) => [row.method, formatFixed(100 * row.average, 2)] as const);
  return makeTable<(typeof lines)[number]>(
    [
      { header: 'task', value: 'task' },
      { header: 'measure', value: 'measures' },
      ...group.map(({ method }): Column<(typeof lines)[number]> => {
        return { header: method, value: ({ values }) => values.get(method), align: 'right' };
      }),
    ],
    [...lines, { task: 'average', measures: '', values: new Map(averages) }],
  );
}
