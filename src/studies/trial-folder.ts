/** The folder of a study: one file per trial, so that nothing measured is lost, and the snapshots of trials under way. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { writeFileAtomic } from '../files/atomic.ts';
import { readInFolder } from '../files/regular-file.ts';
import { schemaProblems } from '../files/schema-problems.ts';

const mostBytes = 1 << 16;

/** What every file says besides the result. */
const envelope = z.looseObject({
  format: z.literal('linnet-trial'),
  version: z.literal(1),
  /** SHA-256 of what decides the result. */
  identity: z.string(),
});

/** What the results of a study are. */
export interface TrialKind<Result extends object> {
  readonly schema: z.ZodType<Result>;
  /** File name of a result's trial, without its ending; no two trials of a study have the same. */
  readonly nameOf: (result: Result) => string;
}

/** Results of one kind in a folder. */
export class TrialFolder<Result extends object> {
  readonly path: string;
  readonly #trials: string;
  readonly #kind: TrialKind<Result>;

  private constructor(path: string, kind: TrialKind<Result>) {
    this.path = path;
    this.#trials = join(path, 'trials');
    this.#kind = kind;
  }

  /** Opens the folder; it is created if it does not exist. @throws LinnetError `PATH` from the file system */
  static async open<Result extends object>(path: string, kind: TrialKind<Result>): Promise<TrialFolder<Result>> {
    const folder = new TrialFolder(path, kind);
    await mkdir(folder.#trials, { recursive: true });
    return folder;
  }

  /** Where the training of a trial keeps its snapshots. */
  snapshotFolder(name: string): string {
    return join(this.#trials, `${name}.snapshots`);
  }

  /**
   * The result of a trial that was run before with the same model, data and settings; undefined where there is none.
   * @throws LinnetError `MISMATCH` for the result of another trial of the same name, `FORMAT` for a damaged file
   */
  async find(name: string, identity: string): Promise<Result | undefined> {
    const file = `${name}.json`;
    let text: string;
    try {
      text = (await readInFolder(this.#trials, file, mostBytes)).toString('utf8');
    } catch (error) {
      if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
    const json = parseJson(text, file);
    const known = envelope.safeParse(json);
    const { format: _, version: __, identity: given, ...rest } = known.data ?? {};
    const parsed = this.#kind.schema.safeParse(rest);
    const problem = known.error ?? parsed.error;
    if (problem !== undefined || !parsed.success) {
      const reason = problem === undefined ? '' : schemaProblems(problem);
      throw new LinnetError('FORMAT', `${join(this.#trials, file)} is not a result of a trial: ${reason}`);
    }
    if (given !== identity || this.#kind.nameOf(parsed.data) !== name) {
      throw new LinnetError(
        'MISMATCH',
        `${join(this.#trials, file)} is of another trial, or was measured with another model, text or budget than the plan says now; ` +
          'name another --out, or delete the file to measure it again',
      );
    }
    return parsed.data;
  }

  /** Keeps a result, and drops the snapshots that led to it. */
  async store(name: string, identity: string, result: Result): Promise<Result> {
    const content = { format: 'linnet-trial', version: 1, identity, ...result };
    await writeFileAtomic(join(this.#trials, `${name}.json`), `${JSON.stringify(content, null, 2)}\n`);
    await rm(this.snapshotFolder(name), { recursive: true, force: true });
    return result;
  }
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${file} is not JSON; delete it to measure the trial again`, { cause });
  }
}
