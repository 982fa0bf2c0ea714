/** `linnet eval compare`: results of `eval tasks` side by side, with errors of the differences and the questions that changed. */
import { compareResults } from '../../../evaluation/tasks/comparison/compare.ts';
import { readResults } from '../../../evaluation/tasks/comparison/result-files.ts';
import { commandLine } from '../../../report/command-line.ts';
import { writeReport } from '../../../report/html.ts';
import { formatCount } from '../../../report/quantities.ts';
import { textTable } from '../../../report/table.ts';
import { defineCommand, optional, requiredList } from '../../framework/command.ts';
import { called, filePath, path } from '../../framework/option-values.ts';
import { comparisonReport, comparisonTable, shortNames } from '../../output/comparison-report.ts';

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
