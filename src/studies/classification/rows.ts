/** The rows of classification tasks: from GLUE in any layout, or from the files of a task of one's own. */
import { labelsOf, type LabelledText, readLabelledTexts } from '../../data/datasets/labelled.ts';
import { LinnetError } from '../../errors.ts';
import { findRows } from '../../evaluation/tasks/data/locate.ts';
import { checkColumns } from '../../evaluation/tasks/data/rows.ts';
import type { RowValue } from '../../evaluation/tasks/text/python-json.ts';
import type { ClassificationTask, GlueTask } from './glue.ts';
import { glueTasks } from './glue.ts';
import type { ClassificationPlan, OwnTask } from './plan.ts';

/** A task with its rows. */
export interface TaskRows {
  readonly task: ClassificationTask;
  /** Names of the classes by id; undefined where labels are numbers. */
  readonly labels: readonly string[] | undefined;
  readonly train: readonly LabelledText[];
  readonly validation: readonly LabelledText[];
}

/**
 * Reads the tasks of a plan.
 * @param place the path of a folder or file of the plan
 * @throws LinnetError `NOT_FOUND`, saying where rows were looked for; `FORMAT` naming file and row; `INPUT` for a label of
 *   the validation rows that the training rows do not have
 */
export async function readTaskRows(plan: ClassificationPlan, place: (path: string) => string): Promise<TaskRows[]> {
  const { train: mostTrain = Infinity, validation: mostValidation = Infinity } = plan.limit;
  const read: TaskRows[] = [];
  for (const chosen of plan.tasks) {
    const glue = typeof chosen === 'string' ? glueTasks.find(({ name }) => name === chosen) : undefined;
    const rows = typeof chosen === 'string' ? undefined : chosen;
    if (glue !== undefined) {
      const dir = place(plan.data ?? '');
      const train = await glueRows(dir, glue, 'train', mostTrain);
      const validation = await glueRows(dir, glue, glue.validation, mostValidation);
      const labels = glue.words?.map((_, id) => String(id));
      read.push({ task: glue, labels, train, validation });
    } else if (rows !== undefined) {
      const train = (await ownRows(rows, rows.train, place)).slice(0, mostTrain);
      const validation = (await ownRows(rows, rows.validation, place)).slice(0, mostValidation);
      const labels = rows.numbers ? undefined : labelsOf(train);
      read.push({ task: ownTask(rows, labels), labels, train, validation });
    }
  }
  for (const { task, train, validation } of read) {
    if (train.length === 0 || validation.length === 0) {
      throw new LinnetError(
        'INPUT',
        `task ${task.name} has ${train.length} training and ${validation.length} validation rows`,
      );
    }
  }
  return read;
}

async function glueRows(dir: string, task: GlueTask, split: string, most: number): Promise<LabelledText[]> {
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
    texts.push({
      text: textOf(row[first]),
      ...(second !== undefined && { pair: textOf(row[second]) }),
      label: value,
      source,
    });
  }
  return texts;
}

/** What `checkColumns` has let through: a text or a number. */
function textOf(value: RowValue | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}

function ownRows(task: OwnTask, files: readonly string[], place: (path: string) => string): Promise<LabelledText[]> {
  return readLabelledTexts(files.map(place), { text: task.text, pair: task.pair, label: task.label });
}

function ownTask(
  { name, text, pair, label, numbers }: OwnTask,
  labels: readonly string[] | undefined,
): ClassificationTask {
  return {
    name,
    columns: pair === undefined ? [text] : [text, pair],
    label,
    words: labels,
    measures: numbers ? ['pearson', 'spearman'] : ['accuracy'],
  };
}
