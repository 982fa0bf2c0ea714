/** What the training commands share: a recorded, resumable run of whatever they plan. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import type { LoadedModel } from '../checkpoint/load-model.ts';
import { LinnetError } from '../errors.ts';
import { formatCount, formatFixed, formatShortCount } from '../report/quantities.ts';
import { openRun, type Run } from '../report/record.ts';
import { microBatchRows, type TrainingSettings } from '../training/settings.ts';
import { train, type TrainingJob, type TrainingOutcome, totalUpdates, type UpdateEvent } from '../training/trainer.ts';
import type { CommandResult } from './framework/command.ts';
import type { CommandContext } from './framework/context.ts';
import { settingsOf, type TrainingValues } from './options/training-options.ts';

type ParameterMap = LoadedModel['parameters'];
/** Plain JSON, as records hold it. */
export type Json = Record<string, z.core.util.JSONType>;

/** What a command trains, on what, and what becomes of it. */
export interface TrainingPlan
  extends Pick<TrainingJob, 'model' | 'parameters' | 'dataset' | 'objective' | 'trainable' | 'rateFactor' | 'variant'> {
  /** Of the weights that training starts from; undefined where they follow from the seed. */
  readonly origin?: string;
  /** What the data is, for people: "12 documents, 3,456 tokens in 7 rows". */
  readonly summary: string;
  /** What the record says beside model, settings and data. */
  readonly configuration?: Json;
  /** Default: `train`; `folder` is that of the run. */
  readonly train?: (job: TrainingJob, folder: string) => Promise<TrainingOutcome>;
  /** Saves what was trained, and returns what machines are told about it. */
  readonly save: (out: string, trained: ParameterMap) => Promise<Json>;
}

/**
 * Trains as the options and the command's plan say, records the run and saves the result.
 * @throws LinnetError `PATH` if the result or a run exists, `ABORTED` on Ctrl-C
 */
export async function runTraining(
  context: CommandContext,
  values: TrainingValues,
  prepare: (settings: TrainingSettings) => Promise<TrainingPlan>,
): Promise<CommandResult> {
  const settings = settingsOf(values);
  if (existsSync(values.out) && !values.replace) {
    throw new LinnetError('PATH', `${values.out} exists; name another --out, or give --replace`);
  }
  const { summary, configuration, train: trainPlan, save, ...plan } = await prepare(settings);
  const total = totalUpdates(plan.dataset, settings);
  context.note(
    `${summary}; ${formatCount(total)} updates of ${formatCount(settings.batch * plan.dataset.length)} tokens ` +
      `(micro-batches of ${microBatchRows(settings)} rows)`,
  );
  const folder = values.run ?? `${values.out.replace(/\/+$/, '')}.run`;
  const isRecorded = existsSync(join(folder, 'run.json'));
  if (isRecorded && !values.resume) {
    throw new LinnetError(
      'PATH',
      `${folder} holds a run; continue it with --resume, or name another folder with --run`,
    );
  }
  const { data, heldOut } = values;
  const described: unknown = JSON.parse(
    JSON.stringify({ model: plan.model.toJson(), settings, data, heldOut, ...configuration }),
  );
  const description = {
    command: ['linnet', ...process.argv.slice(2)],
    configuration: z.record(z.string(), z.json()).parse(described),
    seed: values.seed,
  };
  // A run that falls back to a snapshot measures what came after it again.
  const open = (done: number): Promise<Run> =>
    openRun(folder, description, { resume: isRecorded, keep: ({ update }) => Number(update) <= done });
  const job: TrainingJob = {
    ...plan,
    settings,
    snapshots: { folder: join(folder, 'snapshots'), every: values.snapshotEvery },
    compile: { device: values.device, threads: values.threads },
  };
  const run = (started: TrainingJob): Promise<TrainingOutcome> => trainPlan?.(started, folder) ?? train(started);
  return recordedTraining(context, { label: basename(folder), folder, open, run }, job, async (trained) => {
    const told = await save(values.out, trained);
    context.print(`saved ${values.out}`);
    return { out: values.out, run: folder, ...told };
  });
}

interface Recording {
  readonly label: string;
  readonly folder: string;
  /** Opens the record, keeping the metrics of updates that are done. */
  readonly open: (done: number) => Promise<Run>;
  readonly run: (job: TrainingJob) => Promise<TrainingOutcome>;
}

async function recordedTraining(
  context: CommandContext,
  { label, folder, open, run: runJob }: Recording,
  job: TrainingJob,
  save: (trained: ParameterMap) => Promise<Json>,
): Promise<CommandResult> {
  const progress = context.progress(label, 'tokens');
  const started = performance.now();
  const tokensPerUpdate = job.settings.batch * job.dataset.length;
  let run: Run | undefined;
  const onStart = async (done: number): Promise<void> => {
    run = await open(done);
    if (done > 0) context.note(`continuing after update ${done}`);
    progress.update(done * tokensPerUpdate, totalUpdates(job.dataset, job.settings) * tokensPerUpdate);
  };
  const onUpdate = ({ update, total, loss, gradientNorm, learningRate, seconds }: UpdateEvent): void => {
    run?.log({ update, loss, gradientNorm, learningRate, tokens: tokensPerUpdate * update, seconds });
    const info = `update ${update}/${total}, loss ${formatFixed(loss, 4)}`;
    progress.update(update * tokensPerUpdate, total * tokensPerUpdate, info);
  };
  try {
    const outcome = await runJob({ ...job, signal: context.signal, onStart, onUpdate });
    progress.finish();
    if (!outcome.finished) {
      const state =
        outcome.updates > 0 ? `a snapshot of update ${outcome.updates} is in ${folder}` : 'nothing was trained yet';
      throw new LinnetError('ABORTED', `stopped; ${state}. To continue, give the same command again with --resume`);
    }
    const saved = await save(outcome.parameters);
    await run?.finish('finished');
    const seconds = (performance.now() - started) / 1000;
    if (outcome.loss !== undefined && outcome.tokensPerSecond !== undefined) {
      context.print(
        `${formatCount(outcome.updates)} updates, loss ${formatFixed(outcome.loss, 4)} (mean of the last tenth), ` +
          `${formatShortCount(outcome.tokensPerSecond)} tokens/s`,
      );
    }
    return {
      json: {
        ...saved,
        loss: outcome.loss ?? null,
        steps: outcome.updates,
        tokens: outcome.tokens,
        tokensPerSecond: outcome.tokensPerSecond ?? null,
        seconds,
      },
    };
  } catch (error) {
    progress.finish();
    const stopped = error instanceof LinnetError && error.code === 'ABORTED';
    await run?.finish(stopped ? 'interrupted' : 'failed', error);
    throw error;
  }
}
