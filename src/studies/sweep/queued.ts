/** A study whose trials run on other machines, each as it would here: the file of a result is the same, but for its times. */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { validated } from '../../files/schema-problems.ts';
import type { JobHandler } from '../../jobs/job.ts';
import { runJobs } from '../../jobs/queue.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { parseSweepPlan } from './plan.ts';
import { measuredSchema, type StoredTrial, type SweepFolder, trialName } from './results.ts';
import { openStudy, prepareStudy, type Study, type StudyOptions } from './study.ts';
import { runTrial, trialIdentity } from './trial.ts';

/** Names the jobs. */
export const sweepTrialKind = 'sweep-trial';

const dataSchema = z.strictObject({
  /** The plan as it was read, and the file from whose folder its paths count. */
  plan: z.json(),
  planFile: z.string().max(4096),
  /** Which trial of the plan. */
  identity: z.string().max(128),
  snapshotEvery: z.int().min(1),
});

/** How a study is run on other machines. */
export interface QueuedStudyOptions extends Pick<StudyOptions, 'signal' | 'snapshotEvery' | 'onResult'> {
  /** Redis of the queue. */
  readonly queue: string;
  /** The plan as it was read, and its file. */
  readonly plan: unknown;
  readonly planFile: string;
}

/**
 * Has workers run the trials that have no result yet. Stopped, the same call finds what was done meanwhile.
 * @throws LinnetError as `runStudy` and `runJobs`; `MISMATCH` where a worker has another text or model
 */
export async function runStudyInQueue(
  study: Study,
  folder: SweepFolder,
  { queue, plan, planFile, signal, snapshotEvery = 200, onResult }: QueuedStudyOptions,
): Promise<StoredTrial[]> {
  const { results, open } = await openStudy(study, folder);
  const total = study.trials.length;
  let done = 0;
  for (const known of results) if (known !== undefined) onResult?.(known, true, { done: ++done, total });
  const jobs = open.map(({ trial, identity }) => ({
    kind: sweepTrialKind,
    title: `trial ${trial.model}, ${trial.method}, seed ${trial.seed}`,
    data: { plan, planFile: resolve(planFile), identity, snapshotEvery },
  }));
  await runJobs(queue, jobs, {
    signal,
    async onResult(place, result) {
      const { trial, identity, index } = open[place];
      const measured = measuredSchema.safeParse(result);
      if (!measured.success)
        throw new LinnetError('FORMAT', 'the queue holds something else than the result of a trial');
      const { model, method, augmented, seed } = trial;
      const stored = await folder.store(trialName(trial), identity, {
        model,
        method,
        augmented,
        seed,
        ...measured.data,
      });
      results[index] = stored;
      onResult?.(stored, false, { done: ++done, total });
    },
  });
  return results.flatMap((result) => result ?? []);
}

/** Runs trials of the queue; the text and the models of the plan used last stay loaded. */
export function sweepTrialHandler(compile: CompileOptions): JobHandler {
  let last: { readonly key: string; readonly study: Promise<Study> } | undefined;
  return async (data, { signal, folder }) => {
    const job = validated(dataSchema, data, 'INPUT', 'the job is not a trial');
    const { plan, planFile, identity, snapshotEvery } = job;
    const key = JSON.stringify([plan, planFile]);
    if (last?.key !== key) last = { key, study: prepareStudy(parseSweepPlan(plan, planFile), planFile) };
    const { trials } = await last.study.catch((error: unknown) => {
      last = undefined;
      throw error;
    });
    const trial = trials.find((one) => trialIdentity(one) === identity);
    if (trial === undefined) {
      throw new LinnetError(
        'MISMATCH',
        `with the text and the models that this worker finds, ${planFile} has no such trial: give all machines the same files`,
      );
    }
    return runTrial(trial, { snapshots: { folder: join(folder, 'snapshots'), every: snapshotEvery }, compile, signal });
  };
}
