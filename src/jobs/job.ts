/** Work that any machine may do: jobs and their results. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { sha256 } from '../files/digest.ts';

/** A piece of work. The same work has the same id: it is done once, however often it is asked for. */
export interface Job {
  /** Names the handler. */
  readonly kind: string;
  /** Decides the result, together with nothing else. JSON. */
  readonly data: unknown;
  /** Name in progress displays. */
  readonly title: string;
}

/** Context of a handler, besides the data. */
export interface JobContext {
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

export type JobOutcome = z.infer<typeof outcomeSchema>;

const codes = ['CONFIG', 'FORMAT', 'TENSOR', 'PATH', 'NOT_FOUND', 'MISMATCH', 'INPUT', 'RUNTIME'] as const;

/** The outcome of a job that threw; undefined where another attempt may do better. */
export function failure(error: unknown): JobOutcome | undefined {
  if (!(error instanceof LinnetError) || error.code === 'ABORTED') return undefined;
  return { error: { code: error.code, message: error.message.slice(0, 10_000) } };
}

/** The result in an outcome. @throws LinnetError the worker's error, or `FORMAT` for a value that is no outcome */
export function resultOf(value: unknown, title: string): unknown {
  const parsed = outcomeSchema.safeParse(value);
  if (!parsed.success) throw new LinnetError('FORMAT', `the queue holds something else than a result for ${title}`);
  if ('result' in parsed.data) return parsed.data.result;
  const { code, message } = parsed.data.error;
  const known = codes.find((one) => one === code) ?? 'RUNTIME';
  throw new LinnetError(known, `${title} failed on a worker: ${message}`);
}
