/** Reads a Hugging Face model folder: config.json and its safetensors weights, in one file or several. */
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ifFound, LinnetError } from '../errors.ts';
import type { ParameterShapes } from '../nn/parameters.ts';
import { previousFolder } from '../files/written-folder.ts';
import { CONFIG_FILE, INDEX_FILE, QUANTIZE_FILE, WEIGHTS_FILE } from './folder-files.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import {
  GENERATION_FILE,
  type GenerationConfig,
  generationConfigOf,
  maximumGenerationBytes,
  withEnds,
} from './generation-config.ts';
import { withoutIgnored } from './ignored-fields.ts';
import { JoinedWeights } from './joined-weights.ts';
import { fileError, readInFolder } from '../files/regular-file.ts';
import { originalFiles } from './mlx-folder.ts';
import { recognizePath } from './path-kind.ts';
import { type SafetensorsFile, openSafetensorsIn, pieceBytes } from './safetensors/reader.ts';
import { ggufPath, openGguf } from './gguf/files.ts';
import type { GgufFacts } from './gguf/model.ts';
import { quantizationOf } from './quantized/config.ts';
import { quantizedFiles } from './quantized/weights.ts';
import type { WeightFile, WeightInfo } from './weight-file.ts';
import { checkShards, MAX_INDEX_BYTES, parseShardIndex, shardNames } from './shard-index.ts';
import { requirePath } from '../files/arguments.ts';

/** Largest config.json read. */
const MAX_CONFIG_BYTES = 16_000_000;

/**
 * Opens a model folder, a GGUF file, or a folder with one.
 * @throws LinnetError `NOT_FOUND` if there is no folder, config or safetensors weights; `PATH` for anything but a regular file;
 *   `FORMAT` for malformed files; `TENSOR` if index and files disagree; for another recognized kind (an adapter, a
 *   session, quantized weights …) its name and the command that takes it
 * @example
 * ```ts
 * const checkpoint = await openCheckpoint('assets/tiny-llama');
 * const embedding = await checkpoint.readFloat32('model.embed_tokens.weight');
 * await checkpoint.close();
 * ```
 */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  requirePath(dir, 'the folder');
  const path = resolve(dir);
  const packed = await ggufPath(path);
  if (packed !== undefined) return ggufCheckpoint(packed);
  await refuseOtherKinds(path);
  await checkFolder(path);
  const configBytes = await ifFound(readInFolder(path, CONFIG_FILE, MAX_CONFIG_BYTES));
  if (configBytes === undefined) {
    throw new LinnetError(
      'NOT_FOUND',
      `${path} holds no model: neither config.json with model.safetensors, nor a .gguf file, nor linnet.json of an export`,
    );
  }
  const written = withoutIgnored(parseJsonObject(configBytes, resolve(path, CONFIG_FILE)));
  const config = withEnds(written, await readGenerationConfig(path));
  const quantization = quantizationOf({ ...(await quantizeConfig(path)), ...config }, path);
  const files = await openWeights(path);
  try {
    const weights = quantization === undefined ? files : await quantizedFiles(quantization, path, files);
    return new Checkpoint(path, config, configBytes, originalFiles(config, path, weights));
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

/** The file in which GPTQ and AWQ kept their configuration before config.json had it. */
async function quantizeConfig(path: string): Promise<JsonObject | undefined> {
  const bytes = await ifFound(readInFolder(path, QUANTIZE_FILE, maximumGenerationBytes));
  return bytes && { quantization_config: parseJsonObject(bytes, resolve(path, QUANTIZE_FILE)) };
}

/**
 * A folder's generation_config.json; without one, no defaults and no EOS ids.
 * @throws LinnetError like `generationConfigOf`
 */
export async function readGenerationConfig(folder: string): Promise<GenerationConfig> {
  return generationConfigOf(
    await ifFound(readInFolder(folder, GENERATION_FILE, maximumGenerationBytes)),
    GENERATION_FILE,
  );
}

async function ggufCheckpoint(path: string): Promise<Checkpoint> {
  const { config, weights, facts } = await openGguf(path);
  return new Checkpoint(path, config, Buffer.from(JSON.stringify(config)), [weights], facts);
}

/**
 * Compares a checkpoint's tensors with those a model needs.
 * @throws LinnetError `TENSOR` listing the first missing, surplus and wrong-shape tensors by name
 */
export function assertTensors(
  { path, tensors }: { readonly path: string; readonly tensors: ParameterShapes },
  expected: ParameterShapes,
): void {
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  const surplus = [...tensors.keys()].filter((name) => !expected.has(name));
  const misshapen = [...expected].flatMap(([name, { shape }]) => {
    const found = tensors.get(name)?.shape;
    if (found === undefined || String(found) === String(shape)) return [];
    return [`${quoteName(name)} is [${found.join(',')}], expected [${shape.join(',')}]`];
  });
  const problems: string[] = [];
  if (missing.length > 0) problems.push(`${missing.length} missing: ${listNames(missing)}`);
  if (surplus.length > 0) problems.push(`${surplus.length} surplus: ${listNames(surplus)}`);
  if (misshapen.length > 0) {
    problems.push(
      `${misshapen.length} of the wrong shape: ${misshapen.slice(0, 5).join(', ')}${misshapen.length > 5 ? ` and ${misshapen.length - 5} more` : ''}`,
    );
  }
  if (problems.length > 0) {
    throw new LinnetError('TENSOR', `${path} does not hold the tensors its config asks for; ${problems.join('; ')}`);
  }
}

/** A folder's shards. */
async function openWeights(path: string): Promise<readonly SafetensorsFile[]> {
  const present = new Set(await readdir(path));
  if (present.has(WEIGHTS_FILE)) return openFiles(path, [WEIGHTS_FILE]);
  if (!present.has(INDEX_FILE)) {
    throw new LinnetError('NOT_FOUND', `${path} has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}`);
  }
  const source = resolve(path, INDEX_FILE);
  const index = parseShardIndex(await readInFolder(path, INDEX_FILE, MAX_INDEX_BYTES), source);
  return openFiles(path, shardNames(index), (contents) => checkShards(index, contents, source));
}

/** Opens files in order; if any of them, or all together, are wrong, closes those already open. */
async function openFiles(
  path: string,
  names: readonly string[],
  check?: (contents: ReadonlyMap<string, readonly string[]>) => void,
): Promise<readonly SafetensorsFile[]> {
  const opened = new Map<string, SafetensorsFile>();
  try {
    for (const name of names) opened.set(name, await openSafetensorsIn(path, name));
    check?.(new Map([...opened].map(([name, file]) => [name, file.names()])));
  } catch (error) {
    await Promise.all([...opened.values()].map((file) => file.close()));
    throw error;
  }
  return [...opened.values()];
}

/** An open model folder. Every file is open with its header checked; tensors are read on demand. Dispose of it. */
export class Checkpoint extends JoinedWeights implements AsyncDisposable {
  /** The parsed config.json, with generation_config.json's EOS ids added; its fields are unchecked. */
  readonly config: JsonObject;
  /** All files' tensors, with type and shape as stored. */
  readonly tensors: ReadonlyMap<string, WeightInfo>;
  /** A GGUF file's facts. */
  readonly gguf: GgufFacts | undefined;
  readonly #configBytes: Uint8Array;
  #fingerprint: Promise<string> | undefined;

  constructor(
    path: string,
    config: JsonObject,
    configBytes: Uint8Array,
    files: readonly WeightFile[],
    gguf?: GgufFacts,
  ) {
    super(path, files);
    this.gguf = gguf;
    this.config = config;
    this.tensors = new Map(this.names().map((name) => [name, this.info(name)]));
    this.#configBytes = configBytes;
  }

  /**
   * SHA-256, in hex, over config.json and every tensor's name, type, shape and bytes in name order: equal for equal models
   * however they are split into files. Reads everything once, then remembers.
   * @param onDoubt called, if tensors are read, with the names of those whose bytes may hold numbers that are not finite
   */
  fingerprint(onDoubt?: (name: string) => void): Promise<string> {
    this.#fingerprint ??= this.#computeFingerprint(onDoubt).catch((error: unknown) => {
      this.#fingerprint = undefined; // a failed read may succeed later
      throw error;
    });
    return this.#fingerprint;
  }

  /** See `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #computeFingerprint(onDoubt?: (name: string) => void): Promise<string> {
    const hash = createHash('sha256');
    const buffer = new Uint8Array(pieceBytes); // shared by all tensors: garbage of megabytes is collected late
    // Each part states its length, so that no two models can give the same byte stream.
    hash.update(`linnet model 1\n${this.#configBytes.length}\n`).update(this.#configBytes);
    for (const name of this.names().sort()) {
      const { dtype, shape, byteLength } = this.info(name);
      hash.update(`\n${JSON.stringify([name, dtype, shape, byteLength])}\n`);
      for await (const chunk of this.chunks(name, buffer)) {
        hash.update(chunk);
        if (onDoubt !== undefined && !this.isFinite(name, chunk)) onDoubt(name);
      }
    }
    return hash.digest('hex');
  }
}

async function checkFolder(path: string): Promise<void> {
  try {
    const stats = await stat(path);
    if (!stats.isDirectory())
      throw new LinnetError('PATH', `${path} is neither a folder with ${CONFIG_FILE} nor a GGUF file`);
  } catch (error) {
    const interrupted = await stat(previousFolder(path)).catch(() => undefined);
    if (interrupted?.isDirectory()) {
      throw new LinnetError(
        'NOT_FOUND',
        `${path} does not exist: its replacement was interrupted; the old model is in ${previousFolder(path)}, rename it back to use it`,
        { cause: error },
      );
    }
    throw fileError('open the model', path, error);
  }
}

/** Refuses an adapter, a session and the like, naming the kind and the command that takes it. */
async function refuseOtherKinds(path: string): Promise<void> {
  const kind = await recognizePath(path);
  if (kind !== undefined) throw new LinnetError(kind.code, `${path} is ${kind.is}; ${kind.advice}`);
}
