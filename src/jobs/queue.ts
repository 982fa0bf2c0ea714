/**
 * Jobs on many machines: BullMQ on a Redis that all of them reach. A worker holds a lock on its job, which it renews while it
 * lives; the job of a dead worker goes to another. Results stay in Redis for a day, so that the caller may be stopped and ask
 * again.
 */
import type * as Bullmq from 'bullmq';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { z } from 'zod';
import { LinnetError, type Stoppable } from '../errors.ts';
import { type FolderLock, isFolderHeld, lockFolder } from '../files/folder-lock.ts';
import { loadOptional } from '../files/optional-package.ts';
import { openRedis } from '../redis/client.ts';
import { remove } from '../files/remove.ts';
import { sha256 } from '../files/digest.ts';

// Work that any machine may do: jobs and their results.

/** A piece of work. The same work has the same id: it is done once, however often it is asked for. */
export interface Job {
  /** Names the handler. */
  readonly kind: string;
  /** Decides the result, together with nothing else. JSON. */
  readonly data: unknown;
  /** Name in progress displays. */
  readonly title: string;
}

/** A handler's context. */
interface JobContext {
  /** Fires when the worker is to stop: the handler then throws `ABORTED`, and the job goes to another. */
  readonly signal: AbortSignal;
  /** Folder for the handler's snapshots, to resume after an interruption; the same one for the same job. */
  readonly folder: string;
}

/** Does jobs of a kind. The data comes from the queue: it is checked first. The result is JSON. */
export type JobHandler = (data: unknown, context: JobContext) => Promise<unknown>;

/** The name of a job: the same for the same work. */
export function jobId({ kind, data }: Job): string {
  return sha256(JSON.stringify([kind, data]));
}

/** A result as it goes through the queue. An error of the work itself is a result: a retry would not help. */
const outcomeSchema = z.union([
  z.strictObject({ result: z.json() }),
  z.strictObject({ error: z.strictObject({ code: z.string().max(32), message: z.string().max(10_000) }) }),
]);

type JobOutcome = z.infer<typeof outcomeSchema>;

const codes = ['CONFIG', 'FORMAT', 'TENSOR', 'PATH', 'NOT_FOUND', 'MISMATCH', 'INPUT', 'RUNTIME'] as const;

/** The outcome of a job that threw; undefined if another attempt may succeed. */
function failure(error: unknown): JobOutcome | undefined {
  if (!(error instanceof LinnetError) || error.code === 'ABORTED') return undefined;
  return { error: { code: error.code, message: error.message.slice(0, 10_000) } };
}

/** The result in an outcome. @throws LinnetError the worker's error, or `FORMAT` for an invalid value */
function resultOf(value: unknown, title: string): unknown {
  const parsed = outcomeSchema.safeParse(value);
  if (!parsed.success) throw new LinnetError('FORMAT', `the queue holds something other than a result for ${title}`);
  if ('result' in parsed.data) return parsed.data.result;
  const { code, message } = parsed.data.error;
  const known = codes.find((one) => one === code) ?? 'RUNTIME';
  throw new LinnetError(known, `${title} failed on a worker: ${message}`);
}

const queueName = 'linnet-jobs';
/** Seconds for which results are kept. */
const keptFor = 86_400;

const load = (): Promise<typeof Bullmq> => loadOptional(() => import('bullmq'), 'bullmq', 'a queue of jobs');

/** How a caller follows its jobs. */
interface RunJobsOptions extends Stoppable {
  /** Called with each result as it arrives; an error that it throws ends the run. */
  readonly onResult: (index: number, result: unknown) => void | Promise<void>;
}

/**
 * Adds jobs to the queue and waits for all of their results. Jobs that were done before have theirs at once.
 *
 * @param url the Redis server
 * @throws LinnetError `ABORTED` when the signal fires: the jobs stay in the queue, and asking again finds their results;
 *   an error of a worker; `NOT_FOUND` without bullmq and ioredis
 */
export async function runJobs(url: string, jobs: readonly Job[], { signal, onResult }: RunJobsOptions): Promise<void> {
  const { Queue, QueueEvents } = await load();
  const connection = await openRedis(url, { retries: null });
  const queue = new Queue<unknown, unknown>(queueName, { connection });
  const events = new QueueEvents(queueName, { connection: connection.duplicate() });
  queue.on('error', () => undefined);
  events.on('error', () => undefined);
  // Every awaited job adds a listener.
  queue.setMaxListeners(0);
  events.setMaxListeners(0);
  const stopped = new Promise<never>((_, reject) => {
    const stop = (): void => {
      reject(new LinnetError('ABORTED', 'stopped waiting for workers; the jobs are still in the queue'));
    };
    if (signal?.aborted === true) stop();
    signal?.addEventListener('abort', stop, { once: true });
  });
  stopped.catch(() => undefined);
  try {
    await events.waitUntilReady();
    const waiting = jobs.map(async (job, index) => {
      const id = jobId(job);
      // Failed and refused jobs are tried again.
      const earlier = await queue.getJob(id);
      if (earlier !== undefined && (await earlier.isFailed())) await earlier.remove();
      const added = await queue.add(job.kind, job.data, {
        jobId: id,
        attempts: 3,
        backoff: { type: 'fixed', delay: 1000 },
        removeOnComplete: { age: keptFor },
        removeOnFail: { age: keptFor },
      });
      const value: unknown = await Promise.race([added.waitUntilFinished(events), stopped]);
      try {
        await onResult(index, resultOf(value, job.title));
      } catch (error) {
        await added.remove();
        throw error;
      }
    });
    await Promise.all(waiting);
  } finally {
    await Promise.allSettled([events.close(), queue.close()]);
    connection.disconnect();
  }
}

/** How a worker works. */
interface WorkOptions {
  /** Stops and returns the current job to the queue. */
  readonly signal: AbortSignal;
  /** Folder of the jobs' snapshots; several workers of a machine or of a shared disk may have the same. */
  readonly folder: string;
  /** Seconds without a sign of life after which a worker's job goes to another. Default 30. */
  readonly lock?: number;
  /** Called when the worker waits for its first job. */
  readonly onReady?: () => void;
  /** Told of each job: that it began, ended, or goes back. */
  readonly onJob?: (event: 'began' | 'done' | 'refused' | 'returned', kind: string, id: string) => void;
}

/**
 * Takes jobs, one at a time, until the signal fires. First removes folders that killed workers left from finished jobs.
 *
 * @param url the Redis server
 * @returns how many were done
 * @throws LinnetError as `openRedis`; `NOT_FOUND` without bullmq and ioredis
 */
export async function takeJobs(
  url: string,
  handlers: Readonly<Record<string, JobHandler>>,
  { signal, folder, lock = 30, onJob, onReady }: WorkOptions,
): Promise<number> {
  const { Queue, Worker, WaitingError } = await load();
  const connection = await openRedis(url, { retries: null });
  await removeDone(folder, new Queue(queueName, { connection }));
  let done = 0;
  const worker = new Worker<unknown, JobOutcome>(
    queueName,
    async (job, token) => {
      const { id = '', name } = job;
      if (!/^[0-9a-f]{64}$/.test(id) || !Object.hasOwn(handlers, name)) {
        return { error: { code: 'INPUT', message: `this worker does not know jobs of kind ${name.slice(0, 100)}` } };
      }
      onJob?.('began', name, id);
      await using own = await claimFolder(folder, id);
      try {
        const result = await handlers[name](job.data, { signal, folder: join(own.folder, 'progress') });
        await remove(join(own.folder, 'progress'));
        done++;
        onJob?.('done', name, id);
        return { result: z.json().parse(JSON.parse(JSON.stringify(result))) };
      } catch (error) {
        if (signal.aborted) {
          await job.moveToWait(token);
          onJob?.('returned', name, id);
          throw new WaitingError();
        }
        const refused = failure(error);
        if (refused === undefined) throw error;
        onJob?.('refused', name, id);
        return refused;
      }
    },
    {
      connection,
      autorun: false,
      concurrency: 1,
      lockDuration: 1000 * lock,
      stalledInterval: 500 * lock,
      // Machines come and go: that a worker died says nothing against its job.
      maxStalledCount: 100,
    },
  );
  worker.on('error', () => undefined);
  await worker.waitUntilReady();
  const running = worker.run();
  onReady?.();
  if (!signal.aborted) await once(signal, 'abort');
  await worker.close();
  await running;
  connection.disconnect();
  return done;
}

/** Removes folders of finished jobs: a killed worker leaves its job's folder, and another may do the job elsewhere. */
async function removeDone(folder: string, queue: Bullmq.Queue): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  try {
    for (const name of names.filter((one) => /^[0-9a-f]{64}(-[0-9a-f]{8})?$/.test(one))) {
      const place = join(folder, name);
      if ((await queue.getJobState(name.slice(0, 64))) !== 'completed' || (await isFolderHeld(place))) continue;
      await remove(place).catch(() => undefined);
    }
  } finally {
    await queue.close();
  }
}

/** The folder of a job, unless a worker that was given up for dead still has it: then another, to begin from the start. */
async function claimFolder(folder: string, id: string): Promise<FolderLock> {
  try {
    return await lockFolder(join(folder, id));
  } catch (error) {
    if (!(error instanceof LinnetError && error.code === 'PATH')) throw error;
    return lockFolder(join(folder, `${id}-${randomBytes(4).toString('hex')}`));
  }
}
