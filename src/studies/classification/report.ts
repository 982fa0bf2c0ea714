/** The report of a study of classifiers: a row a model and method, a column a task; means over the seeds. */
import { average } from '../../evaluation/tasks/metrics/statistics.ts';
import { formatCount, formatFixed } from '../../report/quantities.ts';
import { type Column, makeTable, type Table } from '../../report/table.ts';
import { groupedBy, type OverSeeds, overSeeds, spelledOverSeeds } from '../frame/over-seeds.ts';
import type { StudyReport } from '../frame/study.ts';
import type { ClassificationPlan } from './plan.ts';
import type { ClassificationResult, ClassificationTrial } from './trial.ts';

/** A model with a method in a task. */
interface ClassificationCell {
  readonly task: string;
  readonly measures: Readonly<Record<string, OverSeeds>>;
  /** Mean of the measures: the task's score. */
  readonly score: number;
}

/** A model with a method, over the tasks. */
interface ClassificationRow {
  readonly model: string;
  readonly method: string;
  readonly cells: readonly ClassificationCell[];
  /** Mean score of the tasks, as GLUE averages them. */
  readonly average: number;
}

function summarize(results: readonly ClassificationResult[]): ClassificationRow[] {
  return groupedBy(results, ({ model, method }) => JSON.stringify([model, method])).map((own) => {
    const cells = groupedBy(own, ({ task }) => task).map((trials): ClassificationCell => {
      const [{ task, measures: first }] = trials;
      const valueOf = (trial: ClassificationResult, name: string): number =>
        new Map(Object.entries(trial.measures)).get(name) ?? Number.NaN;
      const measures = Object.fromEntries(
        Object.keys(first).map((name) => [name, overSeeds(trials.map((trial) => valueOf(trial, name)))]),
      );
      return { task, measures, score: average(Object.values(measures).map((measure) => measure.mean)) };
    });
    return { model: own[0].model, method: own[0].method, cells, average: average(cells.map(({ score }) => score)) };
  });
}

export function reportClassification(
  plan: ClassificationPlan,
  trials: readonly ClassificationTrial[],
  results: readonly ClassificationResult[],
): StudyReport {
  const rows = summarize(results);
  const caption =
    'Percent: mean ± standard deviation over the seeds, of validation rows. A task with two measures counts with their ' +
    'mean in the average.';
  const sizes = trials.map(({ task, rows: { train, validation } }) => {
    return [task, `${formatCount(train.length)} rows to train on, ${formatCount(validation.length)} measured`] as const;
  });
  const budgets = trials.map(({ model, settings: { batch, length, learningRate, schedule, steps, epochs } }) => {
    const extent = steps === undefined ? `${epochs} epochs` : `${steps} steps`;
    return [
      model,
      `${extent} of ${batch} rows of at most ${length} tokens, rate ${learningRate}, ${schedule}`,
    ] as const;
  });
  const seeds = `${plan.seeds.join(', ')}: they draw heads, fresh weights and the order of the rows`;
  return {
    json: { rows, trials: results },
    title: plan.title,
    subtitle: 'The same budget for every method of a model',
    sections: groupedBy(rows, ({ model }) => model).map((own) => ({
      title: own[0].model,
      blocks: [{ kind: 'table', table: taskTable(own), caption }],
    })),
    facts: [...new Map(sizes), ...new Map(budgets), ['seeds', seeds]],
  };
}

/** Measures × 100, as GLUE is published; two measures of a task with a slash. */
function spelled(cell: ClassificationCell | undefined): string | undefined {
  const percent = ({ mean: centre, deviation }: OverSeeds): string =>
    spelledOverSeeds({ mean: 100 * centre, deviation: 100 * deviation });
  return cell && Object.values(cell.measures).map(percent).join(' / ');
}

/** A line of a table: a task and its measures, or the average. */
interface TaskLine {
  readonly task: string;
  readonly measures: string;
  readonly value: (row: ClassificationRow) => string | undefined;
}

/** One model: a task a row, a method a column; studies have more tasks than methods, and pages are narrow. */
function taskTable(own: readonly ClassificationRow[]): Table {
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
