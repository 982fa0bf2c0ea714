/** `linnet sweep`: a study of methods from a plan, resumable, with several seeds. */
import { readRegularFile } from '../../../files/regular-file.ts';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { lockFolder } from '../../../files/folder-lock.ts';
import { parseJsonObject } from '../../../files/json-object.ts';
import { LinnetError } from '../../../errors.ts';
import { isClassificationPlan } from '../../../studies/classification/plan.ts';
import { parseSweepPlan } from '../../../studies/sweep/plan.ts';
import {
  openSweepFolder,
  type StoredTrial,
  summarize,
  type SweepRow,
  trialName,
} from '../../../studies/sweep/results.ts';
import { runStudyInQueue } from '../../../studies/sweep/queued.ts';
import { prepareStudy, runStudy } from '../../../studies/sweep/study.ts';
import { writeReport } from '../../../report/html.ts';
import { formatCount, formatFixed } from '../../../report/quantities.ts';
import { commandLine } from '../../../report/command-line.ts';
import { plainJson, type Run } from '../../../report/record.ts';
import { recordedWork } from '../../../report/recorded-work.ts';
import { textTable } from '../../../report/table.ts';
import {
  type CommandResult,
  defineCommand,
  engineOptions,
  optional,
  required,
  withDefault,
} from '../../framework/command.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import type { CommandContext } from '../../framework/context.ts';
import { called, filePath, folderPath, integer, redisUrl } from '../../framework/option-values.ts';
import { type ClassificationPlace, sweepClassification } from './classification.ts';
import { recordUpdate } from '../../output/trial-record.ts';
import { modelsOf, sweepChart, sweepCsv, sweepReport, sweepTable } from '../../output/sweep-report.ts';

export const sweep = defineCommand({
  description:
    'Runs the study that a plan describes: every method, plain and with the masked convolution, in every model, with every ' +
    'seed, on the same budget of training; then the perplexity of held-out text. A plan of the kind "classification" fine-tunes classifiers for GLUE or tasks of ' +
    'its own instead, and measures accuracy, F1, Matthews or the correlations. Each trial leaves a file in the output ' +
    'folder, so that a study can be stopped (Ctrl-C) and the same command goes on, inside a trial too. At the end there ' +
    'are a table, report.html and a chart per model.',
  examples: [
    'linnet sweep assets/sweeps/quick.json --out runs/quick',
    'linnet sweep assets/sweeps/seven-methods.json --out runs/seven --json',
    'linnet sweep assets/sweeps/classification.json --out runs/reviews',
  ],
  arguments: {
    plan: required(filePath, 'the plan, a .json file; see docs/study.md'),
  },
  options: {
    out: optional(folderPath, 'where results go (default: runs/ and the name of the plan)'),
    snapshotEvery: withDefault(
      called('steps', integer(1)),
      200,
      'optimizer steps of a trial from one snapshot to the next',
    ),
    queue: optional(redisUrl, 'lets machines with `linnet work` run the trials, one each at a time'),
    ...engineOptions,
  },
  async run(context, { plan: planFile, out, snapshotEvery, queue, device, threads }) {
    const json = await readPlan(planFile);
    const place = out ?? join('runs', planName(planFile));
    const options = { out: place, compile: { device, threads }, snapshotEvery };
    if (isClassificationPlan(json) && queue !== undefined) {
      throw new UsageError('--queue is of plans of text; the trials of a study of classifiers run here');
    }
    await using _lock = await lockFolder(place);
    return await continued(
      isClassificationPlan(json)
        ? sweepClassification(context, { ...options, json, planFile })
        : sweepPerplexity(context, { ...options, json, planFile, queue }),
    );
  },
});

interface SweepPlace extends ClassificationPlace {
  /** Redis of the machines that run the trials. */
  readonly queue: string | undefined;
}

async function sweepPerplexity(
  context: CommandContext,
  { json: given, planFile, out: place, compile, snapshotEvery, queue }: SweepPlace,
): Promise<CommandResult> {
  const plan = parseSweepPlan(given, planFile);
  const study = await prepareStudy(plan, planFile);
  const folder = await openSweepFolder(place);
  const [first] = study.trials;
  context.note(
    `${formatCount(study.trials.length)} trials of ${formatCount(first.settings.steps ?? 0)} optimizer steps; ` +
      `${formatCount(first.text.dataset.rows * first.text.dataset.length)} tokens to train on, ${formatCount(study.heldOutTokens)} scored`,
  );
  const description = {
    command: context.command,
    configuration: plainJson({
      data: plan.data,
      settings: plan.training,
      trials: study.trials.length,
      seeds: plan.seeds,
    }),
  };
  const results = await recordedWork(place, description, async (start) => {
    const run = await start();
    const trials = await runWithProgress(context, { total: study.trials.length, run }, (callbacks) =>
      queue === undefined
        ? runStudy(study, folder, { compile, signal: context.signal, snapshotEvery, ...callbacks })
        : runStudyInQueue(study, folder, {
            ...{ queue, plan: given, planFile, signal: context.signal, snapshotEvery },
            onResult: callbacks.onResult,
          }),
    );
    run.report({ perplexity: lowest(trials), trials: trials.length });
    return trials;
  });
  const rows = summarize(results);
  const charts: string[] = [];
  for (const model of modelsOf(rows)) {
    context.print(`\n${model}\n${textTable(sweepTable(rows, model))}`);
    const file = join(folder.path, `${planName(model)}.svg`);
    await writeFileAtomic(file, (await sweepChart(rows, model)).svgFile());
    charts.push(file);
  }
  const report = join(folder.path, 'report.html');
  await writeReport(
    report,
    await sweepReport(plan, rows, { heldOutTokens: study.heldOutTokens, command: commandLine(context.command) }),
  );
  const csv = join(folder.path, 'results.csv');
  await writeFileAtomic(csv, sweepCsv(rows));
  const json = {
    out: folder.path,
    report,
    csv,
    charts,
    heldOutTokens: study.heldOutTokens,
    rows: rows.map(reportedRow),
  };
  await writeFileAtomic(join(folder.path, 'results.json'), `${JSON.stringify(json, null, 2)}\n`);
  context.print(`\nwrote ${report}`);
  return { json };
}

/** A stopped study says how it goes on. */
async function continued<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code !== 'ABORTED') throw error;
    throw new LinnetError('ABORTED', `${error.message}; to continue, give the same command again`, { cause: error });
  }
}

/** Not-a-number, of a diverged trial or the deviation of one seed, is null. */
function reportedRow({ trials, ...row }: SweepRow): Record<string, unknown> {
  return { ...row, seeds: trials.map(({ seed, perplexity, loss, seconds }) => ({ seed, perplexity, loss, seconds })) };
}

type Callbacks = Pick<NonNullable<Parameters<typeof runStudy>[2]>, 'onUpdate' | 'onResult'>;

/** The lowest perplexity of a study; null where all have diverged. */
function lowest(trials: readonly StoredTrial[]): number | null {
  const values = trials.map(({ perplexity }) => perplexity).filter(Number.isFinite);
  return values.length === 0 ? null : Math.min(...values);
}

async function runWithProgress(
  context: CommandContext,
  { total, run }: { readonly total: number; readonly run: Run },
  work: (callbacks: Callbacks) => Promise<StoredTrial[]>,
): Promise<StoredTrial[]> {
  return context.withProgress('sweep', 'trials', (progress) =>
    work({
      onUpdate: (trial, event, { done }) => {
        const { model, method, augmented, seed } = trial;
        recordUpdate(run, trialName(trial), event);
        const name = `${model}, ${method}${augmented ? ' + convolution' : ''}, seed ${seed}`;
        progress.update(done + event.update / event.total, total, `${name}, loss ${formatFixed(event.loss, 3)}`);
      },
      onResult: (result, known, { done }) => {
        const { model, method, augmented, seed, perplexity } = result;
        progress.update(done, total);
        if (known) return;
        run.log({ trial: trialName(result), perplexity, trialSeconds: result.seconds });
        const variant = augmented ? ' + convolution' : '';
        context.note(`${done}/${total}  ${model}, ${method}${variant}, seed ${seed}: ${formatFixed(perplexity, 2)}`);
      },
    }),
  );
}

function planName(file: string): string {
  const name = file.replace(/^.*[\\/]/, '').replace(/\.json$/i, '');
  return name.replace(/[^\p{L}\d+-]+/gu, '-');
}

/** Plans have some hundred bytes a method. */
const maximumPlanBytes = 1 << 20;

async function readPlan(file: string): Promise<unknown> {
  const bytes = await readRegularFile(file, maximumPlanBytes).catch((cause: unknown) => {
    if (!(cause instanceof LinnetError && cause.code === 'NOT_FOUND')) throw cause;
    throw new LinnetError('NOT_FOUND', `cannot read ${file}; give the path of a plan`, { cause });
  });
  return parseJsonObject(bytes, file);
}
