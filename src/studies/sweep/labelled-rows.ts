/** The rows of classification tasks: from GLUE in any layout, or from the files of a task of one's own. */
import type { RowValue } from '../../data/files/parquet-rows.ts';
import { labelsOf, type LabelledText, readLabelledTexts } from '../../data/datasets/labelled.ts';
import { LinnetError } from '../../errors.ts';
import { findRows } from '../../evaluation/tasks/data/locate.ts';
import { checkColumns } from '../../evaluation/tasks/data/rows.ts';
import { type ClassificationTask, type GlueTask, glueTasks } from './glue.ts';
import type { ClassificationPlan, OwnTask } from './plan.ts';

export interface TaskRows {
  readonly task: ClassificationTask;
  /** Class names by id; undefined if labels are numbers. */
  readonly labels: readonly string[] | undefined;
  readonly train: readonly LabelledText[];
  readonly validation: readonly LabelledText[];
}

/**
 * Reads the tasks of a plan.
 * @param place path of a folder or file in the plan
 * @throws LinnetError `NOT_FOUND`, naming the places searched for rows; `FORMAT` naming file and row; `INPUT` for a label of
 *   the validation rows that the training rows do not have
 */
export async function readTaskRows(plan: ClassificationPlan, place: (path: string) => string): Promise<TaskRows[]> {
  const { limit } = plan;
  const read: TaskRows[] = [];
  for (const chosen of plan.tasks) {
    const rows =
      typeof chosen === 'string' ? await glueTask(chosen, place(plan.data ?? ''), limit) : await ownTask(chosen, place);
    const train = rows.train.slice(0, limit.train);
    const validation = rows.validation.slice(0, limit.validation);
    if (train.length === 0 || validation.length === 0) {
      throw new LinnetError(
        'INPUT',
        `task ${rows.task.name} has ${train.length} training and ${validation.length} validation rows`,
      );
    }
    read.push({ ...rows, train, validation });
  }
  return read;
}

type Limit = ClassificationPlan['limit'];

async function glueTask(chosen: string, dir: string, limit: Limit): Promise<TaskRows> {
  const task = glueTasks.find(({ name }) => name === chosen);
  if (task === undefined) throw new LinnetError('CONFIG', `GLUE has no task "${chosen}"`);
  const train = await glueRows(dir, task, 'train', limit.train);
  const validation = await glueRows(dir, task, task.validation, limit.validation);
  return { task, labels: task.words?.map((_, id) => String(id)), train, validation };
}

async function ownTask(
  { name, text, pair, label, numbers, ...files }: OwnTask,
  place: (path: string) => string,
): Promise<TaskRows> {
  const rowsOf = (paths: readonly string[]) => readLabelledTexts(paths.map(place), { text, pair, label });
  const train = await rowsOf(files.train);
  const validation = await rowsOf(files.validation);
  const labels = numbers ? undefined : labelsOf(train);
  const columns = pair === undefined ? [text] : [text, pair];
  const measures = numbers ? (['pearson', 'spearman'] as const) : (['accuracy'] as const);
  return { task: { name, columns, label, words: labels, measures }, labels, train, validation };
}

async function glueRows(dir: string, task: GlueTask, split: string, most = Infinity): Promise<LabelledText[]> {
  const { columns, label, words } = task;
  const [first, second] = columns;
  const kinds = {
    ...Object.fromEntries(columns.map((name) => [name, 'text' as const])),
    [label]: words === undefined ? ('float' as const) : ('label' as const),
  };
  const texts: LabelledText[] = [];
  for await (const sourced of (await findRows(dir, task.source, split)).rows) {
    if (texts.length >= most) break;
    checkColumns(sourced, kinds);
    const { row, source } = sourced;
    const value = textOf(row[label]);
    if (words !== undefined && Number(value) >= words.length) {
      throw new LinnetError('FORMAT', `${source}: column "${label}" is ${value}; expected 0 to ${words.length - 1}`);
    }
    const pair = second !== undefined && { pair: textOf(row[second]) };
    texts.push({ text: textOf(row[first]), ...pair, label: value, source });
  }
  return texts;
}

/** What `checkColumns` has let through: a text or a number. */
function textOf(value: RowValue | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}
