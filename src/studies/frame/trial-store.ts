/** Trial results, one file each in the study's folder, next to the current trial's snapshots. */
import { makeFolder } from '../../files/atomic.ts';
import { join } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import { parseLines, type RunFile, RunFolder } from '../../files/run-folder.ts';
import { validated } from '../../files/schema-problems.ts';
import { type TrialPlace, trialName } from './study.ts';
import { remove } from '../../files/remove.ts';

const storedSchema = z.looseObject({
  format: z.literal('linnet-trial').optional(),
  version: z.literal(1).optional(),
  identity: z.string(),
});
type StoredTrial = z.output<typeof storedSchema>;

function trialFile(file: string, remedy = 'delete it to measure the trial again'): RunFile<StoredTrial> {
  return { file, schema: storedSchema, what: 'a result of a trial', remedy };
}

/** Measurements of a stored result. @throws LinnetError `FORMAT` for the result of another kind of study */
export function measuredOf<Measured>(
  stored: StoredTrial,
  place: TrialPlace,
  schema: z.ZodType<Measured>,
  source: string,
): Measured {
  const others = new Set(['format', 'version', 'identity', ...Object.keys(place)]);
  const measured = Object.fromEntries(Object.entries(stored).filter(([name]) => !others.has(name)));
  return validated(schema, measured, 'FORMAT', `${source} is not a result of this study`);
}

/** Opens the results of a study; the folder is created if it does not exist. @throws LinnetError `PATH` from the file system */
export async function openTrials(path: string) {
  const trials = new RunFolder(join(path, 'trials'));
  await makeFolder(trials.path);
  /** Where the training of a trial keeps its snapshots. */
  const snapshotFolder = (place: TrialPlace): string => join(trials.path, `${trialName(place)}.snapshots`);
  return {
    snapshotFolder,
    /**
     * An earlier run's result, if any.
     * @param identity the trial's identity, computed only if there is a result
     * @throws LinnetError `MISMATCH` for the result of another trial of the same name, `FORMAT` for a damaged file
     */
    async find<Measured>(
      place: TrialPlace,
      identity: () => string | Promise<string>,
      schema: z.ZodType<Measured>,
    ): Promise<Measured | undefined> {
      const kind = trialFile(`${trialName(place)}.json`);
      const stored = await trials.read(kind);
      if (stored === undefined) return undefined;
      const source = join(trials.path, kind.file);
      const isHere = Object.entries(place).every(([name, value]) => stored[name] === value);
      if (isHere && stored.identity === (await identity())) return measuredOf(stored, place, schema, source);
      throw new LinnetError(
        'MISMATCH',
        `${source} belongs to another trial, or to another model, text or budget than the current plan's; ` +
          'name another --out, or delete the file to measure it again',
      );
    },
    /** Keeps a result, and drops the snapshots that led to it. */
    async store(place: TrialPlace, identity: string, measured: object): Promise<void> {
      const content = { format: 'linnet-trial', version: 1, identity, ...place, ...measured } as const;
      await trials.write(trialFile(`${trialName(place)}.json`), content);
      await remove(snapshotFolder(place));
    },
  };
}

/** Results of other runs by identity, from JSON lines. @throws LinnetError `FORMAT` naming a wrong line, and for the file */
export async function readKnownTrials(file: string): Promise<Map<string, StoredTrial>> {
  const text = (await readRegularFile(file, 64 << 20)).toString('utf8').trim();
  const trials = parseLines(trialFile(file, 'name another file'), `${text}\n`, file);
  return new Map(trials.map((stored) => [stored.identity, stored]));
}
