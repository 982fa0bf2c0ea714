/**
 * Results of jobs for machines that share neither a disk nor a queue: a file each in a folder, or an object each in a bucket that
 * speaks S3. Every machine does its share of the jobs; a job that has a result is not done again.
 *
 * A file is one line of JSON, with the job's name and the SHA-256 of the rest, and the result as JSON. It is written as a whole,
 * so that a killed machine leaves none or a whole one. Contents are untrusted and checked.
 */
import { z } from 'zod';
import { LinnetError, OptionsError } from '../errors.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { type Job, jobId } from './queue.ts';
import { type ObjectStore, openBucket, openFolder } from './object-store.ts';
import { sha256 } from '../files/digest.ts';

/** Larger files are not ours: mixers of one layer have some megabytes. */
const mostBytes = 256 * 2 ** 20;
const mostHeadBytes = 512;

const headSchema = z.strictObject({
  format: z.literal('linnet-result'),
  version: z.literal(1),
  job: z.string(),
  sha256: z.string(),
});
const bodySchema = z.strictObject({ result: z.json() });

/** A machine's part of the jobs: every job whose number modulo `count` is `index`. */
export interface Share {
  readonly index: number;
  readonly count: number;
}

/** Whether the job at a position belongs to the share. Without a share all do. */
export function isInShare(position: number, share: Share | undefined): boolean {
  return share === undefined || position % share.count === share.index;
}

/** @throws OptionsError for a share without a store of results, and for a queue next to a store */
export function requireOneWay(way: {
  readonly queue?: unknown;
  readonly store?: string;
  readonly share?: Share;
}): void {
  const { queue, store, share } = way;
  if (share !== undefined && store === undefined) throw new OptionsError('`index` needs `store`, a place for results');
  if (queue === undefined || store === undefined) return;
  throw new OptionsError('`queue` and `store` both share work; give only one');
}

/** Results by job. */
export type ResultStore = ReturnType<typeof resultStore>;

/**
 * Opens a store of results; a folder is created if need be.
 * @param place a folder, or `s3://bucket/prefix` with the variables of the environment that `openBucket` names
 * @throws LinnetError as `openBucket`, `PATH` from the file system
 */
export async function openResults(place: string): Promise<ResultStore> {
  return resultStore(/^s3:/i.test(place) ? await openBucket(place) : await openFolder(place));
}

/** Results by job among named contents. */
export function resultStore(objects: ObjectStore) {
  return {
    /** A job's result, if any. @throws LinnetError `FORMAT` for a damaged one */
    async find(job: Job): Promise<unknown> {
      const id = jobId(job);
      const name = fileOf(id);
      const content = await objects.read(name, mostBytes);
      if (content === undefined) return undefined;
      const source = `${name} in ${objects.place}`;
      const end = content.subarray(0, mostHeadBytes).indexOf(10) + 1;
      const head = headSchema.safeParse(parseJsonObject(content.subarray(0, end), source));
      const rest = content.subarray(end);
      if (!head.success || head.data.job !== id || head.data.sha256 !== sha256(rest)) throw damaged(source, job);
      const body = bodySchema.safeParse(parseJsonObject(rest, source));
      if (!body.success) throw damaged(source, job);
      return body.data.result;
    },
    /** Keeps the result of a job, as JSON. */
    async keep(job: Job, result: unknown): Promise<void> {
      const id = jobId(job);
      const body = Buffer.from(`${JSON.stringify({ result })}\n`);
      const head: z.infer<typeof headSchema> = { format: 'linnet-result', version: 1, job: id, sha256: sha256(body) };
      await objects.write(fileOf(id), Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), body]));
    },
  };
}

function fileOf(id: string): string {
  return `${id}.result`;
}

function damaged(source: string, { title }: Job): LinnetError {
  return new LinnetError('FORMAT', `${source} is not the result of ${title}; delete it to compute it again`);
}
