/** A sharded model's index: `weight_map` says which file holds each tensor. */
import { LinnetError } from '../errors.ts';
import { WEIGHTS_SUFFIX } from './folder-files.ts';
import { isJsonObject, parseJsonObject } from '../files/json-object.ts';
import { checkPlainFileName, listNames, quoteName } from '../files/name-list.ts';
import { checkTensorName } from './safetensors/header.ts';

/** Largest index file read. */
export const MAX_INDEX_BYTES = 100_000_000;
/** Each shard is an open file; real models have at most a few hundred. */
const MAX_SHARDS = 1000;

/** Each tensor's shard file name. */
export type ShardIndex = ReadonlyMap<string, string>;

/**
 * Parses and checks an index file: every value must be a plain safetensors file name.
 * @throws LinnetError `FORMAT`, or `PATH` for a name that leads out of the folder
 */
export function parseShardIndex(bytes: Uint8Array, source: string): ShardIndex {
  const { weight_map: weightMap } = parseJsonObject(bytes, source, { uniqueKeys: true });
  if (!isJsonObject(weightMap)) {
    throw new LinnetError('FORMAT', `${source}: weight_map must be an object of tensor name → file name`);
  }
  const index = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file !== 'string') {
      throw new LinnetError('FORMAT', `${source}: the file of tensor ${quoteName(name)} must be a string`);
    }
    checkPlainFileName(file, source);
    if (!file.endsWith(WEIGHTS_SUFFIX)) {
      throw new LinnetError('FORMAT', `${source}: ${quoteName(file)} does not end in ${WEIGHTS_SUFFIX}`);
    }
    index.set(checkTensorName(name, source), file);
  }
  const count = shardNames(index).length;
  if (count === 0 || count > MAX_SHARDS) {
    throw new LinnetError('FORMAT', `${source} names ${count} files of weights, expected 1 to ${MAX_SHARDS}`);
  }
  return index;
}

/** An index's distinct files, in order of first mention. */
export function shardNames(index: ShardIndex): string[] {
  return [...new Set(index.values())];
}

/**
 * Checks that every tensor is in exactly the shard the index names.
 * @param contents tensor names found in each shard
 * @throws LinnetError `TENSOR` naming missing and surplus tensors
 */
export function checkShards(index: ShardIndex, contents: ReadonlyMap<string, readonly string[]>, source: string): void {
  const problems: string[] = [];
  const report = (names: readonly string[], what: string): void => {
    if (names.length > 0) problems.push(`${names.length} ${what}: ${listNames(names)}`);
  };
  const assigned = new Map([...contents.keys()].map((shard) => [shard, new Set<string>()]));
  for (const [name, shard] of index) assigned.get(shard)?.add(name);
  for (const [shard, names] of contents) {
    const missing = assigned.get(shard);
    const surplus = names.filter((name) => missing?.delete(name) !== true);
    report([...(missing ?? [])], `of the index are missing in ${shard}`);
    report(surplus, `in ${shard} are not assigned to it`);
  }
  if (problems.length > 0) throw new LinnetError('TENSOR', `${source} and its files disagree: ${problems.join('; ')}`);
}
