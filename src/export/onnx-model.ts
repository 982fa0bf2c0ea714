/** Writes ONNX models to disk: `model.onnx`, with `model.onnx.data` next to it if the weights are too large for one file. */
import { type FileHandle, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sort } from 'd3-array';
import type { OnnxGraph } from '../graph/onnx/model.ts';
import {
  type DeferredPart,
  encodeModel,
  externalMinimumBytes,
  type ExternalPart,
  loadDeferred,
  oneFile,
  sharedFile,
} from '../graph/onnx/writer.ts';
import { tensorBytes } from '../graph/tensor.ts';
import { internalError } from '../errors.ts';
import { makeFolder, writeFileAtomic } from '../files/atomic.ts';
import { TRANSFER_BYTES, writeFully } from '../files/regular-file.ts';

const MODEL_FILE = 'model.onnx';
const MODEL_DATA_FILE = 'model.onnx.data';

/** An ONNX model file must stay below its format's limit of 2 GB; this leaves room for the nodes. */
const inlineBytesLimit = 1.5e9;

export interface OnnxModelOptions {
  /** Weights that together exceed this many bytes go to `model.onnx.data`. Default 1.5 GB. */
  readonly inlineBytes?: number;
  /** Written into the model as `producer_version`. */
  readonly producerVersion?: string;
}

/** Models ready to write, with weights in one file next to them. */
export interface StoredModels {
  /** Each model's file, in the order given. */
  readonly models: readonly Uint8Array[];
  /** Parts of the file next to them, by rising offset; empty without one. */
  readonly parts: readonly (ExternalPart | DeferredPart)[];
  /** That file's length. */
  readonly dataBytes: number;
}

/**
 * Encodes models whose larger weights go to a file next to them. Deferred weights are made when written, except those small
 * enough to be inside the model.
 * @param graphs may share weights: equal names mean equal numbers, stored once
 * @param options.load make all deferred weights now and keep them in the model; for small models
 */
export async function encodeForDisk(
  graphs: readonly OnnxGraph[],
  options: OnnxModelOptions & { readonly dataFile: string; readonly load?: boolean },
): Promise<StoredModels> {
  const { inlineBytes = inlineBytesLimit, producerVersion, dataFile, load = false } = options;
  const loaded: OnnxGraph[] = [];
  for (const graph of graphs) loaded.push(await loadDeferred(graph, load ? undefined : externalMinimumBytes));
  const placement = graphs.length === 1 ? oneFile(dataFile, inlineBytes) : sharedFile(dataFile, loaded);
  const parts = new Map<number, ExternalPart | DeferredPart>();
  const models = loaded.map((graph) => {
    const { bytes, external, deferred } = encodeModel(graph, { placement, producerVersion });
    for (const part of [...external, ...deferred]) if (!parts.has(part.offset)) parts.set(part.offset, part);
    return bytes;
  });
  const rising = sort(parts.values(), ({ offset }) => offset);
  const last = rising.at(-1);
  return { models, parts: rising, dataBytes: last === undefined ? 0 : last.offset + lengthOf(last) };
}

/**
 * Writes a model into a folder, creating it if need be. Weights are streamed, not copied; each file
 * appears complete or not at all, the weights before the model that refers to them.
 *
 * @returns the written files' names
 * @throws LinnetError `PATH` from the file system
 * @example
 * ```ts
 * await writeOnnxModel('runs/graph', graph);
 * ```
 */
export async function writeOnnxModel(dir: string, graph: OnnxGraph, options: OnnxModelOptions = {}): Promise<string[]> {
  const loaded = [await loadDeferred(graph)];
  const { models, parts } = await encodeForDisk(loaded, { ...options, dataFile: MODEL_DATA_FILE });
  await makeFolder(dir);
  const dataFile = join(dir, MODEL_DATA_FILE);
  if (parts.length > 0) await writeFileAtomic(dataFile, (handle) => writeModelData(handle, parts));
  await writeFileAtomic(join(dir, MODEL_FILE), models[0]);
  if (parts.length > 0) return [MODEL_FILE, MODEL_DATA_FILE];
  // An earlier, larger model's weights would stay there unused.
  await rm(dataFile, { force: true });
  return [MODEL_FILE];
}

/**
 * Writes the file next to a model from start to end, with zeros between the parts. Makes each part while the one before it is
 * written.
 * @param onChunk called with every piece written, in order, and the bytes so far
 */
export async function writeModelData(
  handle: FileHandle,
  parts: StoredModels['parts'],
  onChunk?: (chunk: Uint8Array, written: number) => void,
): Promise<void> {
  let end = 0;
  const append = async (bytes: Uint8Array): Promise<void> => {
    for (let done = 0; done < bytes.byteLength; done += TRANSFER_BYTES) {
      const chunk = bytes.subarray(done, done + TRANSFER_BYTES);
      await writeFully(handle, chunk);
      end += chunk.byteLength;
      onChunk?.(chunk, end);
    }
  };
  const bytesOf = async (part: StoredModels['parts'][number]): Promise<Uint8Array> =>
    'data' in part ? part.data : tensorBytes(await part.load());
  let next: Promise<Uint8Array> | undefined;
  for (const [index, part] of parts.entries()) {
    if (part.offset > end) await append(new Uint8Array(part.offset - end));
    const data = await (next ?? bytesOf(part));
    const following = parts.at(index + 1);
    next = following && bytesOf(following);
    next?.catch(() => undefined); // reported in its turn
    if (data.byteLength !== lengthOf(part)) {
      throw internalError(`a weight has ${data.byteLength} bytes, expected ${lengthOf(part)}`);
    }
    await append(data);
  }
}

function lengthOf(part: ExternalPart | DeferredPart): number {
  return 'data' in part ? part.data.byteLength : part.byteLength;
}
