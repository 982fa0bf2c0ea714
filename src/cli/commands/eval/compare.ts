/** `linnet eval compare`: results of `eval tasks` side by side, with errors of the differences and the questions that changed. */
import {
  compareResults,
  type ComparedMetric,
  type ComparedTask,
  type MeasuredValue,
} from '../../../evaluation/tasks/comparison/compare.ts';
import { readResults } from '../../../evaluation/tasks/comparison/result-files.ts';
import { commandLine } from '../../../report/command-line.ts';
import { writeReport, type Block, type Report, type Section } from '../../../report/html.ts';
import { formatCount, formatFixed } from '../../../report/quantities.ts';
import { textTable, type Column, makeTable, spreadColumn, type Table } from '../../../report/table.ts';
import { defineCommand, optional, requiredList } from '../../framework/command.ts';
import { called, filePath, path } from '../../framework/option-values.ts';
import { barChart } from '../../../report/charts/chart.ts';
import { describeSoftware } from '../../../report/provenance.ts';

export const evalCompare = defineCommand({
  description:
    'Compares models by the results that eval tasks --out, or lm-evaluation-harness with --log_samples, has written: each ' +
    'metric with its standard error, the difference from the first model with the error of the paired differences, and ' +
    'which questions are answered better or worse. With --out, a page that shows these questions.',
  examples: [
    'linnet eval compare --results results --out comparison.html',
    'linnet eval compare --results results/original results/linearized results/export --json',
  ],
  arguments: {},
  options: {
    results: requiredList(
      called('folders', path),
      'folders with results_*.json, or with a folder of them for each model; the first is compared with',
    ),
    out: optional(filePath, 'the page, an .html file'),
  },
  async run(context, { results: folders, out }) {
    const models = [];
    for (const folder of folders) models.push(...(await readResults(folder)));
    const tasks = await compareResults(models);
    const names = shortNames(models.map(({ model }) => model));
    context.print(textTable(comparisonTable(tasks, names)));
    const changed = tasks.reduce((sum, task) => sum + (task.changed?.questions.length ?? 0), 0);
    context.print(`\n${formatCount(changed)} questions changed`);
    if (out !== undefined) {
      await writeReport(out, await comparisonReport(tasks, models, commandLine(context.command)));
      context.print(`wrote ${out}`);
    }
    const reported = tasks.map(({ task, metrics, changed: questions }) => ({
      task,
      metrics: metrics.map(({ key, values, differences }) => ({ metric: key, values, differences })),
      changed: questions?.questions.map(({ docId, values }) => ({ doc_id: docId, values })),
    }));
    return {
      json: { models: models.map(({ model, file }) => ({ model, file })), tasks: reported, ...(out && { out }) },
    };
  },
});

/** Questions of a task that are shown; a page of all would be too long to read. */
const shownQuestions = 40;
/** Characters of a prompt that are shown: its end, which is the question. */
const shownCharacters = 280;
const chartedTasks = 24;

/** Distinct names of models: their folders, without the common beginning. */
function shortNames(models: readonly string[]): string[] {
  const parts = models.map((model) => model.split(/[\\/]/).filter((part) => part !== ''));
  let shared = 0;
  const [first] = parts;
  while (parts.every((own) => own.length > shared + 1 && own[shared] === first[shared])) shared++;
  const names = parts.map((own) => own.slice(shared).join('/'));
  return names.map((name, index) => (names.indexOf(name) === index ? name : `${name} (${index + 1})`));
}

function withError(measured: MeasuredValue | undefined): readonly [value: number, error?: number] | undefined {
  return measured && [measured.value, measured.error];
}

/** A row a metric: the value of each model, and its difference from the first. */
function comparisonTable(tasks: readonly ComparedTask[], names: readonly string[]): Table {
  const columns: Column<ComparedMetric>[] = [
    { header: 'task', value: ({ task }) => task },
    { header: 'metric', value: ({ key }) => key.replace(/,none$/, '') },
    { header: '', value: ({ higherIsBetter }) => (higherIsBetter ? '↑' : '↓') },
    ...names.map((name, index) => spreadColumn<ComparedMetric>(name, ({ values }) => withError(values[index]), 4)),
    ...names.slice(1).map((name, index) => {
      const of = ({ differences }: ComparedMetric) => withError(differences[index]);
      return spreadColumn(`${name} − ${names[0]}`, of, 4, true);
    }),
  ];
  const metrics = tasks.flatMap((task) => task.metrics);
  return makeTable(columns, metrics);
}

async function accuracyChart(tasks: readonly ComparedTask[], names: readonly string[]): Promise<Block[]> {
  const rows = tasks
    .flatMap(({ metrics }) => metrics.filter(({ key }) => key === 'acc,none'))
    .filter(({ values }) => values.every((value) => value !== undefined))
    .slice(0, chartedTasks);
  if (rows.length === 0) return [];
  const chart = await barChart({
    title: 'Accuracy',
    description: 'Accuracy of each model in each task; lines show the standard error.',
    height: 110 + rows.length * (18 + 22 * names.length),
    horizontal: true,
    marks: 'dots',
    categories: rows.map(({ task }) => task),
    value: { label: 'share of right answers' },
    barLabel: (value) => formatFixed(value, 3),
    bars: names.map((name, index) => ({
      name,
      values: rows.map(({ values }) => values[index]?.value),
      deviations: rows.map(({ values }) => values[index]?.error),
    })),
  });
  return [{ kind: 'chart', chart }];
}

function changedSection({ task, metrics, changed }: ComparedTask, names: readonly string[]): Section[] {
  if (changed === undefined) return [];
  const { key, questions } = changed;
  const metric = metrics.find((own) => own.key === key);
  const counts = names.slice(1).flatMap((name, index) => {
    const difference = metric?.differences[index];
    if (difference === undefined) return [];
    const { questions: asked, better, worse } = difference;
    return [
      `${name} answers ${formatCount(better)} of ${formatCount(asked)} questions better than ${names[0]}, and ${formatCount(worse)} worse.`,
    ];
  });
  const columns: Column<(typeof questions)[number]>[] = [
    { header: 'row', value: ({ docId }) => docId, format: formatCount },
    { header: 'question (its end)', value: ({ context }) => ending(context) },
    { header: 'right', value: ({ target }) => ending(target) },
    ...names.map(
      (name, index): Column<(typeof questions)[number]> => ({
        header: name,
        value: ({ answers, values }) => `${spelledWorth(values[index])} ${ending(answers[index])}`.trim(),
        align: 'left',
      }),
    ),
  ];
  const caption = `The first ${shownQuestions} of ${formatCount(questions.length)} questions that ${key} tells apart.`;
  const table: Block[] =
    questions.length === 0
      ? []
      : [{ kind: 'table', table: makeTable(columns, questions.slice(0, shownQuestions)), caption }];
  return [
    {
      title: `${task}: ${formatCount(questions.length)} questions changed`,
      blocks: [{ kind: 'text', text: counts.join(' ') }, ...table],
    },
  ];
}

function ending(text: string): string {
  const characters = [...text.trim()];
  return characters.length <= shownCharacters
    ? characters.join('')
    : `… ${characters.slice(-shownCharacters).join('')}`;
}

function spelledWorth(value: number): string {
  if (value === 1) return '✓';
  return value === 0 ? '✗' : formatFixed(value, 3);
}

async function comparisonReport(
  tasks: readonly ComparedTask[],
  models: readonly { readonly model: string; readonly file: string }[],
  command: string,
): Promise<Report> {
  const names = shortNames(models.map(({ model }) => model));
  const caption =
    '↑ more is better, ↓ less is better. ± is the standard error; that of a difference is of the differences question by ' +
    'question, which both were asked.';
  const table = comparisonTable(tasks, names);
  return {
    title: names.join(' and '),
    subtitle: 'The same questions, side by side',
    sections: [
      {
        title: 'Tasks',
        blocks: [...(await accuracyChart(tasks, names)), { kind: 'table', table, caption }],
      },
      ...tasks.flatMap((task) => changedSection(task, names)),
      {
        title: 'Where it comes from',
        blocks: [{ kind: 'facts', facts: models.map(({ file }, index) => [names[index], file] as const) }],
      },
    ],
    footer: `Made by linnet eval compare ${describeSoftware().linnet}.`,
    command,
  };
}
