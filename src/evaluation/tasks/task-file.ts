/** A user's own task, from a JSON or YAML file of the schema that the built-in tasks have. */
import { extname } from 'node:path';
import { parse } from 'yaml';
import { readTextFile } from '../../data/files/text-file.ts';
import { LinnetError, reasonOf } from '../../errors.ts';
import { parseTask, type Task } from './schema.ts';

/** Whether a name is a file name instead of a task's. */
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
    // Aliases that multiply ("billion laughs") are refused by the library's own limit. Errors quote nothing of the file.
    const isJson = extname(path).toLowerCase() === '.json';
    value = isJson ? JSON.parse(text) : parse(text, { prettyErrors: false, logLevel: 'error' });
  } catch (cause) {
    throw new LinnetError('FORMAT', `${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  return parseTask(value, path);
}
