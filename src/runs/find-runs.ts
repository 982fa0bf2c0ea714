/** Looks for run folders in a folder and below. */
import { basename, join, relative, resolve, sep } from 'node:path';
import { entriesOf } from '../files/regular-file.ts';

/** A folder with the record of a run. */
export interface FoundRun {
  /** Absolute. */
  readonly folder: string;
  /** Its path from the searched folder, with `/`; for that folder itself, its name. */
  readonly name: string;
}

export interface FoundRuns {
  /** By name. */
  readonly runs: readonly FoundRun[];
  /** False if there is more than was searched. */
  readonly isComplete: boolean;
}

/** Limits of the search: a folder of runs has some hundreds of entries, and a search of `/` must not take hours. */
const limits = { depth: 8, entries: 100_000, runs: 1000 } as const;

/** Folders in which no run is. */
const passedOver: ReadonlySet<string> = new Set(['node_modules', 'snapshots', 'best', 'figures']);

/**
 * The runs in a folder and below, itself included. Links are not followed, and nothing is looked for inside of a run.
 * @throws LinnetError `NOT_FOUND` or `PATH` if the folder cannot be read; folders below that cannot be are passed over
 */
export async function findRuns(dir: string): Promise<FoundRuns> {
  const root = resolve(dir);
  const runs: FoundRun[] = [];
  let level = [root];
  let seen = 0;
  let isComplete = true;
  for (let depth = 0; level.length > 0; depth++) {
    const below: string[] = [];
    for (const folder of level) {
      if (seen >= limits.entries || runs.length >= limits.runs) {
        isComplete = false;
        break;
      }
      const entries = await entriesOf(folder, folder === root);
      seen += entries.length;
      if (entries.some((entry) => entry.name === 'run.json' && entry.isFile())) {
        const name = relative(root, folder).split(sep).join('/');
        runs.push({ folder, name: name === '' ? basename(root) : name });
        continue;
      }
      for (const entry of entries) {
        const isLookedAt = entry.isDirectory() && !entry.name.startsWith('.') && !passedOver.has(entry.name);
        if (isLookedAt) below.push(join(folder, entry.name));
      }
    }
    if (below.length > 0 && depth === limits.depth) isComplete = false;
    level = depth === limits.depth ? [] : below.sort();
  }
  return { runs: runs.sort((a, b) => (a.name < b.name ? -1 : 1)), isComplete };
}
