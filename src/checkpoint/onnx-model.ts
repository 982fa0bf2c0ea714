/** Writes ONNX models to disk: `model.onnx`, and `model.onnx.data` beside it where the weights are too large for one file. */
import type { FileHandle } from 'node:fs/promises';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { OnnxGraph } from '../graph/onnx/model.ts';
import { encodeModel, type ExternalPart, oneFile } from '../graph/onnx/writer.ts';
import { writeFileAtomic } from './atomic.ts';
import { fileError } from './regular-file.ts';

export const MODEL_FILE = 'model.onnx';
export const MODEL_DATA_FILE = 'model.onnx.data';

/** An ONNX model file must stay below 2 GB, which is the limit of its format; this leaves room for the nodes. */
const inlineBytesLimit = 1.5e9;

export interface OnnxModelOptions {
  /** Weights that together exceed this many bytes go to `model.onnx.data`. Default 1.5 GB. */
  readonly inlineBytes?: number;
  /** Written into the model as `producer_version`. */
  readonly producerVersion?: string;
}

/**
 * Writes a model into a folder, which is created if it does not exist. Weights are streamed, not copied; each file
 * appears complete or not at all, the weights before the model that refers to them.
 *
 * @returns the names of the files written
 * @throws LinnetError `PATH` or `NOT_FOUND` from the file system
 */
export async function writeOnnxModel(dir: string, graph: OnnxGraph, options: OnnxModelOptions = {}): Promise<string[]> {
  const { inlineBytes = inlineBytesLimit, producerVersion } = options;
  const { bytes, external } = encodeModel(graph, { placement: oneFile(MODEL_DATA_FILE, inlineBytes), producerVersion });
  try {
    await mkdir(dir, { recursive: true });
  } catch (error) {
    throw fileError('create', dir, error);
  }
  const dataFile = join(dir, MODEL_DATA_FILE);
  if (external.length > 0) await writeFileAtomic(dataFile, (handle) => writeParts(handle, external));
  await writeFileAtomic(join(dir, MODEL_FILE), bytes);
  if (external.length > 0) return [MODEL_FILE, MODEL_DATA_FILE];
  // Weights of an earlier, larger model would lie there unused.
  await rm(dataFile, { force: true });
  return [MODEL_FILE];
}

/** Writes parts at their offsets; gaps read as zeros. */
async function writeParts(handle: FileHandle, parts: readonly ExternalPart[]): Promise<void> {
  for (const { offset, data } of parts) {
    let written = 0;
    while (written < data.byteLength) {
      const length = Math.min(data.byteLength - written, chunkBytes);
      const { bytesWritten } = await handle.write(data, written, length, offset + written);
      written += bytesWritten;
    }
  }
}

/** One system call writes at most 2 GB. */
const chunkBytes = 1 << 26;
