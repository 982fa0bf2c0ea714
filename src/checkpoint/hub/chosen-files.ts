/**
 * Which files of the hub are fetched: of a model configuration, tokenizer and safetensors weights, more by pattern, fewer by
 * pattern; of a data set those with rows, of some of its configurations and splits.
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
 * Chooses the files to fetch from the listing of the model. A sharded model's index is fetched at once, to know them.
 * Weights are required unless a pattern leaves them out.
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
  // A model in GGUF is whole in its files.
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

/** Patterns such as `*.md` for files of the top folder, `onnx/*` for those of another. */
export const fileSelection = z.object({
  /** Files to fetch in addition to configuration, tokenizer and weights. Weights in pickle format are never fetched. */
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

/** The files of each requested part. @param nameOf the part that a file belongs to, for the error */
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
function isOwnPath(name: string): boolean {
  const parts = name.split('/');
  return (
    parts.length <= 6 && parts.every((part) => partName.test(part) && !part.includes('..') && !/^linnet/i.test(part))
  );
}
