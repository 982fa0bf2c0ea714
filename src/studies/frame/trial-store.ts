/** The folder of a study: a file a trial, and the snapshots of the trial under way. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { RunFolder } from '../../files/run-folder.ts';
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import { validated } from '../../files/schema-problems.ts';
import { type TrialPlace, trialName } from './study.ts';

/** A stored result before it is known to be of a certain trial: its identity, its place and what was measured. */
const envelope = z.looseObject({ format: z.literal('linnet-trial'), version: z.literal(1), identity: z.string() });

/** A trial as far as its result in a folder goes. */
export interface StoredTrialKey {
  readonly place: TrialPlace;
  readonly identity: string;
}

/** The results in a folder. */
export class TrialStore {
  readonly path: string;
  readonly #trials: RunFolder;

  private constructor(path: string) {
    this.path = path;
    this.#trials = new RunFolder(join(path, 'trials'));
  }

  /** Opens the folder; it is created if it does not exist. @throws LinnetError `PATH` from the file system */
  static async open(path: string): Promise<TrialStore> {
    const store = new TrialStore(path);
    await mkdir(store.#trials.path, { recursive: true });
    return store;
  }

  /** Where the training of a trial keeps its snapshots. */
  snapshotFolder(place: TrialPlace): string {
    return join(this.#trials.path, `${trialName(place)}.snapshots`);
  }

  /**
   * The result of an earlier run; undefined where there is none.
   * @param identity of the trial, computed only where there is a result
   * @throws LinnetError `MISMATCH` for the result of another trial of the same name, `FORMAT` for a damaged file
   */
  async find<Measured extends object>(
    place: TrialPlace,
    identity: () => string | Promise<string>,
    schema: z.ZodType<Measured>,
  ): Promise<Measured | undefined> {
    const file = `${trialName(place)}.json`;
    const what = 'a result of a trial';
    const stored = await this.#trials.read({ file, schema: envelope, what, remedy: 'delete it' });
    if (stored === undefined) return undefined;
    const path = join(this.#trials.path, file);
    const { format: _, version: __, identity: given, ...rest } = stored;
    const { place: own, measured } = splitResult(rest, place);
    const parsed = validated(schema, measured, 'FORMAT', `${path} is not ${what}`);
    if (given === (await identity()) && own) return parsed;
    throw new LinnetError(
      'MISMATCH',
      `${path} is of another trial, or was measured with another model, text or budget than the plan says now; ` +
        'name another --out, or delete the file to measure it again',
    );
  }

  /** Keeps a result, and drops the snapshots that led to it. */
  async store({ place, identity }: StoredTrialKey, measured: object): Promise<void> {
    const content = { format: 'linnet-trial', version: 1, identity, ...place, ...measured } as const;
    const file = { file: `${trialName(place)}.json`, schema: envelope, what: 'a result of a trial' };
    await this.#trials.write(file, content);
    await rm(this.snapshotFolder(place), { recursive: true, force: true });
  }
}

/** What was measured, without the fields of the place; `place`: whether these are those of the trial. */
function splitResult(result: JsonObject, place: TrialPlace): { place: boolean; measured: JsonObject } {
  return {
    place: Object.entries(place).every(([name, value]) => result[name] === value),
    measured: Object.fromEntries(Object.entries(result).filter(([name]) => !Object.hasOwn(place, name))),
  };
}

/**
 * Results of other runs, a JSON object a line, by identity. Their places are those of the plan that finds them again.
 * @throws LinnetError `FORMAT` naming the line that is not a result
 */
export function parseKnownTrials(text: string, file: string): Map<string, JsonObject> {
  const lines = text.split('\n').entries();
  return new Map(
    [...lines].flatMap(([at, line]): [string, JsonObject][] => {
      if (line.trim() === '') return [];
      const value = jsonOf(line);
      if (isJsonObject(value) && typeof value.identity === 'string') return [[value.identity, value]];
      throw new LinnetError('FORMAT', `${file}:${at + 1} is not a result of a trial; name another file`);
    }),
  );
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
