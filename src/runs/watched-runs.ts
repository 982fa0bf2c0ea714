/** The runs of a folder, polled: unchanged files are not read anew. */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LRUCache } from 'lru-cache';
import { LinnetError } from '../errors.ts';
import { readRunRecord, type RunRecord } from '../report/record.ts';
import { findRuns, type FoundRun } from './find-runs.ts';
import { type CurveGroup, type RunSeries, runSeries } from './series.ts';
import { lossQuantity, type RunSummary, summarizeRun } from './summary.ts';
import { sha256 } from '../files/digest.ts';

/** A run with the name by which it is asked for. */
export interface ListedRun extends RunSummary {
  readonly id: string;
}

/** A folder whose record or metrics cannot be read. */
export interface UnreadableRun {
  readonly name: string;
  readonly reason: string;
}

export interface RunList {
  readonly folder: string;
  readonly runs: readonly ListedRun[];
  readonly unreadable: readonly UnreadableRun[];
  /** False if the folder holds more than was searched. */
  readonly isComplete: boolean;
}

/** The curves of a run. */
export interface RunCurves {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly groups: readonly (CurveGroup & {
    /** The quantity of the loss, with its unit: "Loss, nats per token". */
    readonly quantity: string;
  })[];
}

interface KnownRun {
  readonly series: RunSeries;
  /** Write time and size of the record's file. */
  stamp: string;
  record: RunRecord;
}

/** Runs whose curves are kept in memory. */
const mostKept = 200;

/** The runs of a folder, followed. */
export type WatchedRuns = ReturnType<typeof watchRuns>;

/** Follows the runs of a folder. @param dir folder to search for runs */
export function watchRuns(dir: string) {
  const folder = resolve(dir);
  const known = new LRUCache<string, KnownRun>({ max: mostKept });
  let found = new Map<string, FoundRun>();

  async function open(id: string, run: FoundRun): Promise<KnownRun> {
    const status = await stat(join(run.folder, 'run.json')).catch(() => undefined);
    const stamp = `${status?.mtimeMs}-${status?.size}`;
    const before = known.get(id);
    const record = before?.stamp === stamp ? before.record : await readRunRecord(run.folder);
    const opened = { series: before?.series ?? runSeries(run.folder), stamp, record };
    await opened.series.update();
    known.set(id, opened);
    return opened;
  }

  return {
    /**
     * The current state of all runs, newest first.
     * @throws LinnetError `NOT_FOUND` or `PATH` if the folder cannot be read
     */
    async list(): Promise<RunList> {
      const { runs: all, isComplete } = await findRuns(folder);
      found = new Map(all.map((run) => [idOf(run), run]));
      const runs: ListedRun[] = [];
      const unreadable: UnreadableRun[] = [];
      for (const [id, run] of found) {
        try {
          const { record, series } = await open(id, run);
          runs.push({ id, ...(await summarizeRun(run, record, series.groups(), Date.now())) });
        } catch (error) {
          if (!(error instanceof LinnetError)) throw error;
          unreadable.push({ name: run.name, reason: error.message });
        }
      }
      return { folder, runs: runs.sort(newestFirst), unreadable, isComplete };
    },

    /**
     * The curves of a run that was listed; undefined for any other.
     * @throws LinnetError as `readRun`
     */
    async curves(id: string): Promise<RunCurves | undefined> {
      const run = found.get(id);
      if (run === undefined) return undefined;
      const { series, stamp, record } = await open(id, run);
      const groups = series.groups().map((group) => ({ ...group, quantity: lossQuantity(record, group.name) }));
      return { id, name: run.name, version: `${series.version()}-${stamp}`, groups };
    },
  };
}

function newestFirst(a: ListedRun, b: ListedRun): number {
  return a.started === b.started ? (a.name < b.name ? -1 : 1) : a.started < b.started ? 1 : -1;
}

/** Says nothing of the path, and is no path. */
function idOf({ folder }: FoundRun): string {
  return sha256(folder).slice(0, 16);
}
