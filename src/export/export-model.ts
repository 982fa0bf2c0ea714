/**
 * Writes a causal model as ONNX: the step graph with its weights beside it, the fold graphs, configuration, tokenizer,
 * and linnet.json, which says what they are. Weights pass through one by one; the folder appears when it is complete.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic, writeFolderAtomic } from '../checkpoint/atomic.ts';
import { requireDiskRoom } from '../checkpoint/disk-room.ts';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { encodeForDisk, type StoredModel, writeModelData } from '../checkpoint/onnx-model.ts';
import { type SaveOptions, writeTokenizerFiles } from '../checkpoint/save-checkpoint.ts';
import { foldClasses } from '../decoding/state.ts';
import { LinnetError } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import type { BlockSize } from '../graph/ops/quantized.ts';
import { bytesPerElement, elementCount } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { foldGraph, stepGraph } from '../models/step-graph.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { WeightError } from '../quantization/encoding.ts';
import { defaultBlock, type WeightType } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import { exportedFiles, type ExportManifest, manifestVersion, type MeasuredErrors, parseManifest } from './manifest.ts';
import { storedSource } from './stored-source.ts';

export interface ExportOptions {
  readonly model: CausalModel;
  /** Where its parameters come from: a checkpoint, memory, a generator. Each is read once or twice. */
  readonly weights: WeightReader;
  /** How matrices and tables are stored; the rest is float32. */
  readonly dtype: WeightType;
  /** Weights per scale of int4: 32, 64 or 128; fewer in rows that one smaller block holds. Default: 32. */
  readonly block?: BlockSize;
  /** What the graph is made for. Default: `cpu`, which is for `wasm` too. */
  readonly device?: ExportManifest['device'];
  /** As of `saveModel`. Default: none; such a model is given token ids. */
  readonly tokenizerFiles?: SaveOptions['tokenizerFiles'];
  /** Replace the folder if it exists. Default: false. */
  readonly replace?: boolean;
  /** Version of the writer, for linnet.json and the model. Default: "0". */
  readonly producer?: string;
  /** Measures the complete folder before it gets its name; what it finds goes into linnet.json. */
  readonly measure?: (folder: string) => Promise<MeasuredErrors>;
  /** Bytes of weights written, of all. */
  readonly onProgress?: (written: number, total: number) => void;
  readonly signal?: AbortSignal;
  /** Free bytes where a folder lies. Default: what the file system says. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/**
 * Exports a model.
 *
 * @returns what linnet.json says
 * @throws LinnetError `PATH` if the folder exists and may not be replaced, or the disk lacks room (before any weight is
 *   read); `CONFIG` for a `block` with another type than int4; `TENSOR` for weights of the wrong shape or that cannot be stored; `ABORTED` when the signal fires; whatever
 *   the reader throws. Nothing is left behind then
 */
export async function exportModel(dir: string, options: ExportOptions): Promise<ExportManifest> {
  const { model, dtype, device = 'cpu', replace = false, producer = '0' } = options;
  const block = storedBlock(options);
  const errors = new Map<string, WeightError>();
  const makeSource = storedSource(model, options.weights, { dtype, block, device }, (name, error) => {
    errors.set(name, error);
  });
  const lowered = lowerGraph(stepGraph(model, makeSource), device);
  const step = await encodeForDisk(lowered, {
    dataFile: exportedFiles.data,
    inlineBytes: 0,
    producerVersion: producer,
  });
  const folds = await encodeFolds(model, makeSource, device, producer);
  const weights = [...lowered.initializers, ...(lowered.deferred ?? [])];
  let manifest: ExportManifest | undefined;
  const build = async (folder: string): Promise<void> => {
    await requireDiskRoom(folder, step.bytes.byteLength + step.dataBytes, 'the export', options.freeBytes);
    const files: Record<string, { bytes: number; sha256: string }> = {};
    const write = async (name: string, bytes: Uint8Array): Promise<void> => {
      await writeFileAtomic(join(folder, name), bytes);
      files[name] = { bytes: bytes.byteLength, sha256: sha256(bytes) };
    };
    await writeTokenizerFiles(folder, options.tokenizerFiles);
    for (const name of (await readdir(folder)).sort()) {
      const bytes = await readFile(join(folder, name));
      files[name] = { bytes: bytes.byteLength, sha256: sha256(bytes) };
    }
    await write(exportedFiles.config, new TextEncoder().encode(`${JSON.stringify(model.toJson(), undefined, 2)}\n`));
    if (step.parts.length > 0) files[exportedFiles.data] = await writeData(folder, step, options);
    await write(exportedFiles.model, step.bytes);
    for (const { file, bytes } of folds) await write(file, bytes);
    const described = (measured: MeasuredErrors): ExportManifest =>
      parseManifest(
        {
          format: 'linnet-export',
          version: manifestVersion,
          dtype,
          ...(block === undefined ? {} : { block }),
          device,
          files,
          folds: Object.fromEntries(folds.map(({ name, file }) => [name, file])),
          weightBytes: weights.reduce((sum, { tensor: { dtype, shape } }) => {
            return sum + elementCount(shape) * bytesPerElement[dtype];
          }, 0),
          producer,
          report: { weights: Object.fromEntries(errors), ...measured },
        },
        EXPORT_FILE,
      );
    const describe = async (measured: MeasuredErrors): Promise<void> => {
      manifest = described(measured);
      await writeFileAtomic(join(folder, EXPORT_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
    };
    await describe({});
    if (options.measure !== undefined) await describe(await options.measure(folder));
  };
  await writeFolderAtomic(dir, build, { replace });
  if (manifest === undefined) throw new LinnetError('INTERNAL', 'internal: a folder was exported without linnet.json');
  return manifest;
}

/**
 * Weights per scale, where the type has blocks.
 * @throws LinnetError `CONFIG` for a block size of another type
 */
function storedBlock({ dtype, block }: ExportOptions): BlockSize | undefined {
  if (dtype === 'int4') return block ?? defaultBlock;
  if (block === undefined) return undefined;
  throw new LinnetError('CONFIG', `block is ${block}, but ${dtype} has no blocks; int4 has`);
}

interface EncodedFold {
  readonly name: string;
  readonly file: string;
  readonly bytes: Uint8Array;
}

async function encodeFolds(
  model: CausalModel,
  makeSource: (graph: Graph) => ParameterSource,
  device: ExportManifest['device'],
  producerVersion: string,
): Promise<EncodedFold[]> {
  const folds = new Map<string, EncodedFold>();
  for (const { program: name, layers } of foldClasses(model)) {
    if (folds.has(name)) continue;
    const lowered = lowerGraph(foldGraph(model, layers[0], makeSource), device);
    const file = `fold-${folds.size}.onnx`;
    const { bytes } = await encodeForDisk(lowered, { dataFile: `${file}.data`, producerVersion, load: true });
    folds.set(name, { name, file, bytes });
  }
  return [...folds.values()];
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function writeData(
  folder: string,
  step: StoredModel,
  { onProgress, signal }: ExportOptions,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  await writeFileAtomic(join(folder, exportedFiles.data), (handle) =>
    writeModelData(handle, step.parts, (chunk, written) => {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'the export was stopped; nothing was written');
      hash.update(chunk);
      onProgress?.(written, step.dataBytes);
    }),
  );
  return { bytes: step.dataBytes, sha256: hash.digest('hex') };
}
