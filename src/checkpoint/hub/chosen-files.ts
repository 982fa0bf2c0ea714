/**
 * Chooses which files to fetch from the hub: a model's configuration, tokenizer and safetensors weights, with more or fewer
 * by pattern; a data set's row files, of chosen configurations and splits.
 */
import picomatch from 'picomatch';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { readInFolder } from '../../files/regular-file.ts';
import { COMPANION_FILES, CONFIG_FILE, INDEX_FILE, isPickleFile, WEIGHTS_FILE } from '../folder-files.ts';
import { MAX_INDEX_BYTES, parseShardIndex, shardNames } from '../shard-index.ts';
import type { Connection } from './connection.ts';
import type { RemoteFile } from './download.ts';

/**
 * Chooses the files to fetch from the model's listing. Fetches a sharded model's index at once, to learn its files. Requires
 * weights unless a pattern excludes them.
 * @throws LinnetError `INPUT` for a pattern that is empty, too long or leads out of the model
 */
export async function planModelFiles(
  connection: Connection,
  commit: string,
  staging: string,
  selection: FileSelection,
): Promise<RemoteFile[]> {
  const [isIncluded, isExcluded] = [matcher(selection.include), matcher(selection.exclude)];
  const listing = await connection.listFiles(commit);
  const names = [...listing.keys()];
  const included = names.filter((name) => isIncluded(name) && isOwnPath(name));
  const chosen = included.filter((name) => !isExcluded(name));
  // A GGUF model is complete in its files.
  if (chosen.some((name) => ggufName.test(name))) return filesOf(listing, chosen);
  const ggufs = names.filter((name) => ggufName.test(name));
  if (selection.include.some((pattern) => ggufName.test(pattern))) {
    throw new LinnetError('NOT_FOUND', `the model has no such file in GGUF; it has ${listNames(ggufs) || 'none'}`);
  }
  const asked = new Set([
    CONFIG_FILE,
    ...COMPANION_FILES.filter((name) => listing.has(name)),
    ...included.filter((name) => !isPickleFile(name)),
  ]);
  const index = listing.get(INDEX_FILE);
  if (listing.has(WEIGHTS_FILE)) {
    asked.add(WEIGHTS_FILE);
  } else if (index !== undefined) {
    if (index.size > MAX_INDEX_BYTES) throw new LinnetError('FORMAT', `${INDEX_FILE} claims ${index.size} bytes`);
    await connection.receive(index, commit, staging);
    const shards = parseShardIndex(await readInFolder(staging, INDEX_FILE, MAX_INDEX_BYTES), INDEX_FILE);
    for (const name of [INDEX_FILE, ...shardNames(shards)]) asked.add(name);
  } else if (!isExcluded(WEIGHTS_FILE)) {
    if (ggufs.length > 0) {
      const advice = `choose one: OWNER/NAME:${ggufs[0]}, or --include ${quoteName(ggufs[0])}`;
      throw new LinnetError('NOT_FOUND', `the model has weights in GGUF (${listNames(ggufs)}); ${advice}`);
    }
    const pickles = names.filter(isPickleFile);
    const found =
      pickles.length > 0 ? `only ${listNames(pickles)}, which may run code when loaded and are never fetched` : 'none';
    throw new LinnetError('NOT_FOUND', `the model has no safetensors weights (${found}); choose one that has`);
  }
  const wanted = [...asked].filter((name) => !isExcluded(name));
  if (wanted.length === 0) throw new LinnetError('INPUT', 'the patterns to exclude leave no file to fetch');
  return filesOf(listing, wanted);
}

const ggufName = /\.gguf$/i;

function filesOf(listing: ReadonlyMap<string, RemoteFile>, names: readonly string[]): RemoteFile[] {
  return names.map((name) => {
    const file = listing.get(name);
    if (file === undefined) throw new LinnetError('NOT_FOUND', `the model has no file ${quoteName(name)}`);
    return file;
  });
}

/** Patterns such as `*.md` for files in the top folder, `onnx/*` for files in another. */
export const fileSelection = z.object({
  /** Files to fetch besides configuration, tokenizer and weights. Never fetches weights in pickle format. */
  include: z.array(z.string()),
  /** Files to leave out, whatever else asks for them. */
  exclude: z.array(z.string()),
});

export type FileSelection = Readonly<z.infer<typeof fileSelection>>;

/** More than anyone types; a pattern is compiled into a regular expression. */
const MAX_PATTERN_CHARACTERS = 200;

export function sameSelection(a: FileSelection, b: FileSelection): boolean {
  const text = ({ include, exclude }: FileSelection): string =>
    JSON.stringify([[...new Set(include)].sort(), [...new Set(exclude)].sort()]);
  return text(a) === text(b);
}

function matcher(patterns: readonly string[]): (name: string) => boolean {
  for (const pattern of patterns) {
    if (pattern === '' || pattern.length > MAX_PATTERN_CHARACTERS || /\\|\.\./.test(pattern)) {
      const expected = `a pattern of at most ${MAX_PATTERN_CHARACTERS} characters for files of the model, such as "*.md" or "Q4_K_M/*"`;
      throw new LinnetError('INPUT', `${quoteName(pattern)} is not usable; expected ${expected}`);
    }
  }
  return patterns.length === 0 ? () => false : picomatch([...patterns], { nonegate: true });
}

/** The parts of a data set to fetch. */
export interface DatasetParts {
  /** Configuration names, which are folders; empty for all. */
  readonly configs: readonly string[];
  /** Split names, which are parts of file names; empty for all. */
  readonly splits: readonly string[];
}

const rowFile = /\.(parquet|jsonl|csv|tsv)$/i;
const partName = /^[\w][\w .+-]{0,199}$/;

/** The requested parts in a download record's form. */
export function partsSelection({ configs, splits }: DatasetParts): FileSelection {
  return {
    include: [...configs.map((name) => `config ${name}`), ...splits.map((name) => `split ${name}`)],
    exclude: [],
  };
}

/**
 * Chooses the row files. Keeps files of an earlier download that the data set still has, so that configurations can be
 * fetched one after the other.
 * @throws LinnetError `INPUT` for malformed names; `NOT_FOUND` for missing configurations and splits, naming those that exist
 */
export async function planDataset(
  connection: Connection,
  commit: string,
  { configs, splits }: DatasetParts,
  earlier: readonly string[],
): Promise<RemoteFile[]> {
  for (const name of [...configs, ...splits]) {
    if (!partName.test(name)) throw new LinnetError('INPUT', `${quoteName(name)} names no configuration or split`);
  }
  const rows = [...(await connection.listFiles(commit)).values()].filter(
    ({ name }) => rowFile.test(name) && isOwnPath(name),
  );
  if (rows.length === 0) {
    throw new LinnetError(
      'NOT_FOUND',
      'the data set has no .parquet, .jsonl, .csv or .tsv files; many have Parquet files at the revision refs/convert/parquet',
    );
  }
  const inConfigs = chosen(rows, configs, isOfConfig, 'configuration', configOf);
  const wanted = chosen(inConfigs, splits, isOfSplit, 'split', ({ name }) => name);
  return rows.filter((file) => earlier.includes(file.name) || wanted.includes(file));
}

/** The files of each requested part. @param nameOf a file's part, for the error */
function chosen(
  files: readonly RemoteFile[],
  names: readonly string[],
  isOf: (file: RemoteFile, name: string) => boolean,
  what: string,
  nameOf: (file: RemoteFile) => string,
): readonly RemoteFile[] {
  if (names.length === 0) return files;
  const missing = names.find((name) => !files.some((file) => isOf(file, name)));
  if (missing !== undefined) {
    const present = [...new Set(files.map(nameOf))].filter((name) => name !== '');
    throw new LinnetError(
      'NOT_FOUND',
      `the data set has no ${what} ${quoteName(missing)}; it has ${listNames(present)}`,
    );
  }
  return files.filter((file) => names.some((name) => isOf(file, name)));
}

/** The folder, named after the configuration: `sst2/validation-00000-of-00001.parquet`. */
function configOf({ name }: RemoteFile): string {
  return name.includes('/') ? name.slice(0, name.indexOf('/')) : '';
}

/** A data set without configurations keeps its rows in `data` or at the top, under the name `default` or `plain_text`. */
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

/** A listing comes from a server: its names must not lead out of the folder or replace our own record. */
function isOwnPath(name: string): boolean {
  const parts = name.split('/');
  return (
    parts.length <= 6 && parts.every((part) => partName.test(part) && !part.includes('..') && !/^linnet/i.test(part))
  );
}
