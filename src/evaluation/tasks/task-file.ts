/** A user's own task, from a JSON or YAML file with the built-in tasks' schema. */
import { extname } from 'node:path';
import { parse } from 'yaml';
import { readTextFile } from '../../data/files/text-file.ts';
import { LinnetError, reasonOf } from '../../errors.ts';
import { parseTask, type Task } from './schema.ts';

/** Whether a name is a file name rather than a task's. */
export function isTaskFile(name: string): boolean {
  return ['.json', '.yaml', '.yml'].includes(extname(name).toLowerCase());
}

/**
 * Reads a task.
 * @throws LinnetError `NOT_FOUND`, `PATH`; `FORMAT` for a file that is not JSON or YAML; `CONFIG` naming the faults
 */
export async function readTaskFile(path: string): Promise<Task> {
  const text = await readTextFile(path);
  let value: unknown;
  try {
    // The library's own limit refuses aliases that multiply ("billion laughs"). Errors quote nothing from the file.
    const isJson = extname(path).toLowerCase() === '.json';
    value = isJson ? JSON.parse(text) : parse(text, { prettyErrors: false, logLevel: 'error' });
  } catch (cause) {
    throw new LinnetError('FORMAT', `${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  return parseTask(value, path);
}
