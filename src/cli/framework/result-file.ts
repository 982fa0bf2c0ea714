/** The file that a measuring command writes its results to, with the conditions of measurement. */
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { writeJsonAtomic } from '../../files/atomic.ts';
import { type JsonObject, parseJsonObject } from '../../files/json-object.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import { describeCommit, describeHardware, describeSoftware } from '../../report/provenance.ts';

const format = 'linnet-results';
const mostBytes = 64 << 20;

/** Before the work. @throws LinnetError `NOT_FOUND` without its folder, `PATH` for a file that holds no earlier results */
export async function checkResultFile(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  const parent = await stat(folder).catch(() => undefined);
  if (parent?.isDirectory() !== true) {
    throw new LinnetError('NOT_FOUND', `cannot write the results: there is no folder ${folder}`);
  }
  if ((await stat(path).catch(() => undefined)) === undefined) return;
  const found = await readRegularFile(path, mostBytes)
    .then((bytes) => parseJsonObject(bytes, path).format)
    .catch(() => undefined);
  if (found === format) return;
  throw new LinnetError('PATH', `${path} exists and does not hold Linnet's results; name another file`);
}

/** Writes results with the command line, versions and machine that they come from. */
export async function writeResultFile(path: string, command: readonly string[], results: JsonObject): Promise<void> {
  const content = {
    format,
    version: 1,
    command,
    date: new Date().toISOString(),
    software: describeSoftware(),
    hardware: describeHardware(),
    commit: await describeCommit(),
    results,
  };
  await writeJsonAtomic(resolve(path), content);
}
