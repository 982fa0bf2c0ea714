/** Which files of a data set on the hub are fetched: those with rows, of some of its configurations and splits. */
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import type { RemoteFile } from './download.ts';
import type { RemoteRepository } from './model-files.ts';
import type { FileSelection } from './selection.ts';

/** The parts of a data set to fetch. */
export interface DatasetParts {
  /** Names of configurations, which are folders; empty for all. */
  readonly configs: readonly string[];
  /** Names of splits, which are parts of file names; empty for all. */
  readonly splits: readonly string[];
}

const rowFile = /\.(parquet|jsonl|csv|tsv)$/i;
const partName = /^[\w][\w .+-]{0,199}$/;

/** The requested parts as the record of a download holds them. */
export function partsSelection({ configs, splits }: DatasetParts): FileSelection {
  return {
    include: [...configs.map((name) => `config ${name}`), ...splits.map((name) => `split ${name}`)],
    exclude: [],
  };
}

/**
 * Chooses the files with rows. Files of an earlier download stay, as far as the data set still has them, so that
 * configurations can be fetched one after the other.
 * @throws LinnetError `INPUT` for names that are none; `NOT_FOUND` for configurations and splits that are not there, naming
 *   those that are
 */
export async function planDataset(
  connection: RemoteRepository,
  commit: string,
  { configs, splits }: DatasetParts,
  earlier: readonly string[],
): Promise<RemoteFile[]> {
  for (const name of [...configs, ...splits]) {
    if (!partName.test(name)) throw new LinnetError('INPUT', `${quoteName(name)} names no configuration or split`);
  }
  const rows = [...(await connection.listFiles(commit)).values()].filter(
    ({ name }) => rowFile.test(name) && isSafePath(name),
  );
  if (rows.length === 0) {
    throw new LinnetError(
      'NOT_FOUND',
      'the data set has no .parquet, .jsonl, .csv or .tsv files; many have Parquet files at the revision refs/convert/parquet',
    );
  }
  const inConfigs = chosen(rows, configs, isOfConfig, 'configuration', rows.map(configOf));
  const wanted = chosen(
    inConfigs,
    splits,
    isOfSplit,
    'split',
    inConfigs.map(({ name }) => name),
  );
  const kept = rows.filter(({ name }) => earlier.includes(name));
  return [...new Set([...kept, ...wanted])];
}

/** The files of each requested part. @param there names that the error lists as available */
function chosen(
  files: readonly RemoteFile[],
  names: readonly string[],
  isOf: (file: RemoteFile, name: string) => boolean,
  what: string,
  there: readonly string[],
): readonly RemoteFile[] {
  if (names.length === 0) return files;
  for (const name of names) {
    if (files.some((file) => isOf(file, name))) continue;
    throw new LinnetError(
      'NOT_FOUND',
      `the data set has no ${what} ${quoteName(name)}; it has ${listNames([...new Set(there)].filter((own) => own !== ''))}`,
    );
  }
  return files.filter((file) => names.some((name) => isOf(file, name)));
}

/** The folder, which is called as the configuration: `sst2/validation-00000-of-00001.parquet`. */
function configOf({ name }: RemoteFile): string {
  return name.includes('/') ? name.slice(0, name.indexOf('/')) : '';
}

/** A data set without configurations keeps its rows in `data` or at the top, which is called `default` or `plain_text`. */
function isOfConfig(file: RemoteFile, config: string): boolean {
  const own = configOf(file);
  return own === config || (['', 'data'].includes(own) && ['default', 'plain_text'].includes(config));
}

/** `validation-00000-of-00001.parquet`, `piqa-validation.parquet`, `lambada_test_en.jsonl`, `test/0000.parquet`. */
function isOfSplit({ name }: RemoteFile, split: string): boolean {
  const parts = name.split('/');
  const words = (parts.at(-1) ?? '').replace(rowFile, '');
  return (
    parts.slice(0, -1).includes(split) || `-${words.replaceAll('_', '-')}-`.includes(`-${split.replaceAll('_', '-')}-`)
  );
}

/** A listing comes from a server: nothing it names may lead out of the folder or take the place of our own note. */
function isSafePath(name: string): boolean {
  const parts = name.split('/');
  return (
    parts.length <= 6 && parts.every((part) => partName.test(part) && !part.includes('..') && !/^linnet/i.test(part))
  );
}
