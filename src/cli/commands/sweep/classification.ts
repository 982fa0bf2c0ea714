/** The part of `linnet sweep` that runs studies of classifiers: families × tasks × methods × seeds. */
import { join } from 'node:path';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { commandLine } from '../../../report/command-line.ts';
import { writeReport } from '../../../report/html.ts';
import { formatCount, formatFixed } from '../../../report/quantities.ts';
import { plainJson, type Run } from '../../../report/record.ts';
import { recordedWork } from '../../../report/recorded-work.ts';
import { textTable } from '../../../report/table.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { parseClassificationPlan } from '../../../studies/classification/plan.ts';
import {
  classificationName,
  openClassificationFolder,
  summarizeClassification,
} from '../../../studies/classification/results.ts';
import { prepareClassification, runClassification } from '../../../studies/classification/study.ts';
import type { CommandResult } from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { recordUpdate } from '../../output/trial-record.ts';
import { classificationReport, classificationTable, modelsOf } from '../../output/classification-report.ts';

/** Where a study is, and how it is run. */
export interface ClassificationPlace {
  /** The plan, and its file. */
  readonly json: unknown;
  readonly planFile: string;
  /** The folder of results. */
  readonly out: string;
  readonly compile: CompileOptions;
  readonly snapshotEvery: number;
}

/** Runs a study of classifiers, prints its table and writes its page. */
export async function sweepClassification(context: CommandContext, place: ClassificationPlace): Promise<CommandResult> {
  const { json, planFile, out, compile, snapshotEvery } = place;
  const plan = parseClassificationPlan(json, planFile);
  const study = await prepareClassification(plan, planFile);
  const folder = await openClassificationFolder(out);
  const total = study.trials.length;
  const rowCounts = study.tasks.map(
    ({ task, train, validation }) =>
      `${task.name}: ${formatCount(train.length)} rows, ${formatCount(validation.length)} measured`,
  );
  context.note(`${formatCount(total)} trials; ${rowCounts.join('; ')}`);
  const configuration = plainJson({ trials: total, seeds: plan.seeds });
  const trainAll = (run: Run) =>
    context.withProgress('sweep', 'trials', (progress) =>
      runClassification(study, folder, {
        compile,
        snapshotEvery,
        signal: context.signal,
        onUpdate: ({ model, method, seed, rows }, event, done) => {
          recordUpdate(run, classificationName({ model, task: rows.task.name, method, seed }), event);
          const name = `${model}, ${rows.task.name}, ${method}, seed ${seed}`;
          progress.update(done + event.update / event.total, total, `${name}, loss ${formatFixed(event.loss, 3)}`);
        },
        onResult: ({ model, task, method, seed, measures }, known, done) => {
          progress.update(done, total);
          if (known) return;
          run.log({ trial: classificationName({ model, task, method, seed }), ...measures });
          const numbers = Object.entries(measures).map(([name, value]) => `${name} ${formatFixed(value, 4)}`);
          context.note(`${done}/${total}  ${model}, ${task}, ${method}, seed ${seed}: ${numbers.join(', ')}`);
        },
      }),
    );
  const results = await recordedWork(out, { command: context.command, configuration }, async (start) => {
    const run = await start();
    const trials = await trainAll(run);
    run.report({ trials: trials.length });
    return trials;
  });
  const rows = summarizeClassification(results);
  for (const model of modelsOf(rows)) context.print(`\n${model}\n${textTable(classificationTable(rows, model))}`);
  const report = join(folder.path, 'report.html');
  await writeReport(report, { ...classificationReport(study, rows), command: commandLine(context.command) });
  const reported = { out: folder.path, report, rows, trials: results };
  await writeFileAtomic(join(folder.path, 'results.json'), `${JSON.stringify(reported, null, 2)}\n`);
  context.print(`\nwrote ${report}`);
  return { json: reported };
}
