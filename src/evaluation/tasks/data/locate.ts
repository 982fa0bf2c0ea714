/** Finds a task's rows below a data folder, in the hub's layouts and plain ones. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readRows, rowExtensions } from '../../../data/files/rows.ts';
import type { SourcedRow } from '../../../data/files/parquet-rows.ts';
import { LinnetError } from '../../../errors.ts';
import type { Task } from '../schema.ts';

/** A task's fields that locate its rows. */
export type DataSource = Pick<Task, 'task' | 'dataset_path' | 'dataset_name' | 'folder'>;

/** Where a split may be, most specific first: files relative to the data folder; `*` matches any characters in a name. */
function patterns(task: DataSource, split: string): string[] {
  const [owner, name = owner] = task.dataset_path.split('/');
  const config = task.dataset_name;
  const hub = [`${owner}__${name}`, name].flatMap((folder) => [
    ...(config === undefined
      ? []
      : [
          `${folder}/${config}/${split}-*.parquet`,
          `${folder}/${config}/${split}/*.parquet`,
          `${folder}/${config}/${name}-${split}.parquet`,
          ...rowExtensions.map((extension) => `${folder}/${config}/${split}${extension}`),
        ]),
    `${folder}/data/${split}-*.parquet`,
    // LAMBADA has one file per language.
    `${folder}/data/*_${split}_en.jsonl`,
    `${folder}/default/${split}/*.parquet`,
    `${folder}/plain_text/${split}/*.parquet`,
    `${folder}/plain_text/${name}-${split}.parquet`,
    ...(config === undefined ? rowExtensions.map((extension) => `${folder}/${split}${extension}`) : []),
  ]);
  const folder = taskFolder(task);
  // Subsets of a data set that are tasks of their own have their own folders.
  const plain = [...new Set([task.task, folder])].flatMap((place) =>
    [`${place}/hf/${config ?? ''}`, `${place}/${config ?? ''}`, `${place}/hf`, place].flatMap((parent) =>
      rowExtensions.map((extension) => join(parent, `${split}${extension}`)),
    ),
  );
  return [...new Set([...hub, ...plain])];
}

/** The folder of a task's data in plain layouts. */
export function taskFolder(task: Pick<Task, 'task' | 'folder'>): string {
  return task.folder ?? task.task;
}

interface FoundRows {
  readonly files: readonly string[];
  readonly rows: AsyncGenerator<SourcedRow>;
}

/**
 * A split's rows.
 * @param dir the data folder
 * @throws LinnetError `NOT_FOUND`, saying where it looked; like `readRows`
 */
export async function findRows(dir: string, task: DataSource, split: string): Promise<FoundRows> {
  await requireFolder(dir);
  const looked = patterns(task, split);
  for (const pattern of looked) {
    const files = await matches(dir, pattern);
    if (files.length > 0) return { files, rows: joined(files) };
  }
  throw new LinnetError(
    'NOT_FOUND',
    `there are no ${split} rows of task ${task.task} below ${dir}; looked for:\n  ${looked.join('\n  ')}\n` +
      `Download it: linnet download --dataset ${task.dataset_path} --out ${join(dir, task.dataset_path.replace('/', '__'))}`,
  );
}

async function* joined(files: readonly string[]): AsyncGenerator<SourcedRow> {
  for (const file of files) yield* readRows(file);
}

async function requireFolder(dir: string): Promise<void> {
  const status = await stat(dir).catch(() => undefined);
  if (status?.isDirectory() === true) return;
  throw new LinnetError(
    'NOT_FOUND',
    `${dir} is not a folder; --data, in a plan "data" (--set data=…), names the folder that holds the data of tasks`,
  );
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}

/** Files that match a pattern, by name: a split's shards are numbered. */
async function matches(dir: string, pattern: string): Promise<string[]> {
  const path = join(dir, pattern);
  if (!pattern.includes('*')) return (await isFile(path)) ? [path] : [];
  const folder = join(path, '..');
  const [prefix, suffix] = pattern.slice(pattern.lastIndexOf('/') + 1).split('*');
  const names = await readdir(folder).catch((): string[] => []);
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith(suffix))
    .sort()
    .map((name) => join(folder, name));
}
