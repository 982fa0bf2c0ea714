/** Writes a Hugging Face model folder that Python's transformers opens: all of it appears at once, or nothing. */
import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LinnetError, type Stoppable } from '../errors.ts';
import { makeFolder, writeFileAtomic, writeJsonAtomic } from '../files/atomic.ts';
import { writeFolderAtomic } from '../files/written-folder.ts';
import {
  COMPANION_FILES,
  CONFIG_FILE,
  EXPORT_FILE,
  INDEX_FILE,
  shardFile,
  TEMPLATE_FOLDER,
  templateFilesOf,
  WEIGHTS_FILE,
  WEIGHTS_SUFFIX,
} from './folder-files.ts';
import { type Companions, ggufCompanions } from './gguf/companions.ts';
import type { JsonObject } from '../files/json-object.ts';
import { checkPlainFileName, quoteName } from '../files/name-list.ts';
import { entriesOf, openInFolder, readExactly } from '../files/regular-file.ts';
import { placing, type TensorEntry, type TensorSource } from './safetensors/encoding.ts';
import { writeSafetensors } from './safetensors/writer.ts';

/** PyTorch's names for the types a model can be saved in. */
const torchDTypes = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** A parameter to save; `data` has product-of-`shape` elements, float32 or in the stored type. */
export interface ModelTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: TensorSource;
}

/** Content of a saved model. */
export interface SaveCheckpointOptions extends Stoppable {
  /** config.json's content; `torch_dtype` (or `dtype`, if the config has it) is set to the weights' type. */
  readonly config: JsonObject;
  /** Names and shapes are read first; data is requested one tensor at a time, in this order. */
  readonly tensors: Iterable<ModelTensor> | AsyncIterable<ModelTensor>;
  /** A folder whose tokenizer files (and chat template, generation defaults) to copy, or contents by file name. */
  readonly tokenizerFiles?: { readonly from: string } | ReadonlyMap<string, string | Uint8Array>;
  /** Stored element type, rounded to nearest even. Default 'F32'. */
  readonly dtype?: keyof typeof torchDTypes;
  /** Weights beyond this many bytes go into several files; a larger tensor gets its own. Default 5·10⁹. */
  readonly shardBytes?: number;
  /** Replace an existing folder; see `writeFolderAtomic`. Default false. */
  readonly replace?: boolean;
  /** Writes more into the folder, which then holds the whole model but has not appeared yet. */
  readonly complete?: (folder: string) => Promise<void>;
}

/**
 * Saves a model.
 * @throws LinnetError `PATH` if `dir` exists and may not be replaced, `INPUT` for unusable options, `FORMAT` or `SHAPE` for
 *   tensors that cannot be written, `ABORTED` by the signal, or whatever a tensor's source throws; nothing is left behind
 */
export async function saveCheckpoint(dir: string, options: SaveCheckpointOptions): Promise<void> {
  const {
    config,
    tensors,
    tokenizerFiles,
    dtype = 'F32',
    shardBytes = 5e9,
    replace = false,
    complete,
    signal,
  } = options;
  if (!(shardBytes > 0)) throw new LinnetError('INPUT', `shardBytes must be positive, got ${shardBytes}`);
  const shards = await planShards(tensors, dtype, shardBytes, dir);
  const build = async (folder: string): Promise<void> => {
    await writeJsonAtomic(resolve(folder, CONFIG_FILE), { ...config, ...dtypeFields(config, torchDTypes[dtype]) });
    await writeWeights(folder, shards, signal);
    await writeTokenizerFiles(folder, tokenizerFiles);
    await complete?.(folder);
  };
  await writeFolderAtomic(dir, build, { replace });
}

interface Shard {
  readonly entries: TensorEntry[];
  bytes: number;
}

/** Fills files in tensor order; a tensor that does not fit the current file starts the next. */
async function planShards(
  tensors: SaveCheckpointOptions['tensors'],
  dtype: keyof typeof torchDTypes,
  shardBytes: number,
  dir: string,
): Promise<readonly Shard[]> {
  let current: Shard = { entries: [], bytes: 0 };
  const shards = [current];
  const place = placing(dir);
  for await (const tensor of tensors) {
    const entry = place({ ...tensor, dtype });
    if (current.entries.length > 0 && current.bytes + entry.byteLength > shardBytes) {
      current = { entries: [], bytes: 0 };
      shards.push(current);
    }
    current.entries.push(entry);
    current.bytes += entry.byteLength;
  }
  return shards;
}

async function writeWeights(folder: string, shards: readonly Shard[], signal?: AbortSignal): Promise<void> {
  const fileOf = (i: number): string => (shards.length === 1 ? WEIGHTS_FILE : shardFile(i, shards.length));
  for (const [i, { entries }] of shards.entries()) {
    // transformers refuses files that do not state their framework's tensor layout.
    await writeSafetensors(resolve(folder, fileOf(i)), entries, { format: 'pt' }, signal);
  }
  if (shards.length === 1) return;
  const total = shards.reduce((sum, { bytes }) => sum + bytes, 0);
  const weightMap = shards.flatMap(({ entries }, i) => entries.map(({ name }) => [name, fileOf(i)] as const));
  await writeJsonAtomic(resolve(folder, INDEX_FILE), {
    metadata: { total_size: total },
    weight_map: Object.fromEntries(weightMap),
  });
}

/**
 * Writes the files of `SaveCheckpointOptions.tokenizerFiles` into a folder; none if undefined.
 * @throws LinnetError `INPUT` or `PATH` for names that no tokenizer file may have, `NOT_FOUND` or `PATH` like `openInFolder`
 */
export async function writeTokenizerFiles(
  folder: string,
  files: SaveCheckpointOptions['tokenizerFiles'],
): Promise<void> {
  if (files === undefined) return;
  if (!('from' in files)) {
    for (const [name, content] of files) {
      checkPlainFileName(name, 'tokenizerFiles');
      if ([CONFIG_FILE, INDEX_FILE, EXPORT_FILE].includes(name) || name.endsWith(WEIGHTS_SUFFIX)) {
        throw new LinnetError('INPUT', `tokenizerFiles must not hold ${quoteName(name)}, which belongs to the model`);
      }
      await writeFileAtomic(resolve(folder, name), content);
    }
    return;
  }
  const source = resolve(files.from);
  const packed = await ggufCompanions(source);
  if (packed !== undefined) return writeCompanions(folder, packed);
  const present = (await entriesOf(source)).map(({ name }) => name);
  for (const name of COMPANION_FILES.filter((companion) => present.includes(companion))) {
    await copyInto(folder, source, name);
  }
  if (!present.includes(TEMPLATE_FOLDER)) return;
  const [from, to] = [source, folder].map((parent) => resolve(parent, TEMPLATE_FOLDER));
  await mkdir(to);
  const templates = templateFilesOf((await entriesOf(from, false)).map(({ name }) => name));
  for (const name of templates) await copyInto(to, from, name);
}

/** A GGUF file's tokenizer and chat templates, as files. */
async function writeCompanions(folder: string, { json, texts }: Companions): Promise<void> {
  for (const [name, value] of json) await writeJsonAtomic(resolve(folder, name), value);
  for (const [name, text] of texts) {
    const path = resolve(folder, name);
    await makeFolder(dirname(path));
    await writeFileAtomic(path, text);
  }
}

async function copyInto(folder: string, source: string, name: string): Promise<void> {
  await using file = await openInFolder(source, name, 'same-name');
  const bytes = Buffer.alloc(file.size);
  await readExactly(file.handle, bytes, 0, file.path);
  await writeFileAtomic(resolve(folder, name), bytes);
}

/** Recent transformers versions write `dtype`, older ones `torch_dtype`; both read the older name. */
function dtypeFields(config: JsonObject, name: string): JsonObject {
  return 'dtype' in config
    ? { dtype: name, ...('torch_dtype' in config && { torch_dtype: name }) }
    : { torch_dtype: name };
}
