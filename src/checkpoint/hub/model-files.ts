/** Which files of a model on the hub are fetched: configuration, tokenizer and safetensors weights. */
import { LinnetError } from '../../errors.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { readInFolder } from '../../files/regular-file.ts';
import { COMPANION_FILES, CONFIG_FILE, INDEX_FILE, isPickleFile, WEIGHTS_FILE } from '../folder-files.ts';
import { MAX_INDEX_BYTES, parseShardIndex, shardNames } from '../shard-index.ts';
import type { RemoteFile } from './download.ts';
import { type FileSelection, selectionRules } from './selection.ts';

/** A repository on the hub, as the choice of its files uses it. */
export interface RemoteRepository {
  listFiles(commit: string): Promise<ReadonlyMap<string, RemoteFile>>;
  /** Receives a file into a folder; returns its SHA-256. */
  receive(file: RemoteFile, commit: string, folder: string, onBytes?: (received: number) => void): Promise<string>;
}

/**
 * Chooses the files to fetch from the listing of the model. A sharded model's index is fetched at once, to know them.
 * Weights are required unless a pattern leaves them out.
 */
export async function planModel(
  connection: RemoteRepository,
  commit: string,
  staging: string,
  selection: FileSelection,
): Promise<RemoteFile[]> {
  const { isIncluded, isExcluded } = selectionRules(selection);
  const listing = await connection.listFiles(commit);
  const names = [...listing.keys()];
  const asked = new Set([
    CONFIG_FILE,
    ...COMPANION_FILES.filter((name) => listing.has(name)),
    ...names.filter(isIncluded),
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
    const pickles = names.filter(isPickleFile);
    const found =
      pickles.length > 0 ? `only ${listNames(pickles)}, which may run code when loaded and are never fetched` : 'none';
    throw new LinnetError('NOT_FOUND', `the model has no safetensors weights (${found}); choose one that has`);
  }
  const wanted = [...asked].filter((name) => !isExcluded(name));
  if (wanted.length === 0) throw new LinnetError('INPUT', 'the patterns to exclude leave no file to fetch');
  return wanted.map((name) => {
    const file = listing.get(name);
    if (file === undefined) throw new LinnetError('NOT_FOUND', `the model has no file ${quoteName(name)}`);
    return file;
  });
}
