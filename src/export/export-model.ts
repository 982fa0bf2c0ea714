/**
 * Writes a causal model as ONNX: the step graph with its weights beside it, another for prompts where the type has one,
 * the fold graphs, Medusa heads, configuration, tokenizer, and linnet.json, which says what they are. Weights pass
 * through in pieces; the folder appears when it is complete.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic, writeFolderAtomic } from '../files/atomic.ts';
import { requireDiskRoom } from '../files/disk-room.ts';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import type { MedusaWeights } from '../checkpoint/medusa-files.ts';
import { encodeForDisk, type StoredModel, writeModelData } from './onnx-model.ts';
import { type SaveOptions, writeTokenizerFiles } from '../checkpoint/save-checkpoint.ts';
import { LinnetError } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import type { BlockSize } from '../graph/ops/quantized.ts';
import { bytesPerElement, elementCount } from '../graph/tensor.ts';
import { medusaParameters } from '../models/medusa.ts';
import { medusaGraph } from '../models/medusa-heads.ts';
import type { CausalModel } from '../models/model.ts';
import { foldGraph } from '../models/fold-graph.ts';
import { foldGraphs, modelLayout } from '../models/model-layout.ts';
import { stepGraph } from '../models/step-graph.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { WeightError } from '../quantization/encoding.ts';
import { defaultBlock } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import {
  dataFileOf,
  exportedFiles,
  type ExportManifest,
  manifestVersion,
  type MeasuredErrors,
  parseManifest,
} from './manifest.ts';
import { hasBlocks, type StorageType, storageTypes } from './storage-types.ts';
import { storedSource } from './stored-source.ts';

export interface ExportOptions {
  readonly model: CausalModel;
  /** Where its parameters come from: a checkpoint, memory, a generator. Each is read once or twice per set of weights. */
  readonly weights: WeightReader;
  /** How matrices and tables are stored; the rest is float32. `mixed` stores them twice: w8a8 for prompts, else int4. */
  readonly dtype: StorageType;
  /** Weights per scale of int4, also in `mixed`: 32, 64 or 128; fewer in rows that one smaller block holds. Default: 32. */
  readonly block?: BlockSize;
  /** Medusa heads of the model, stored as its step graph is. Default: none. */
  readonly medusa?: Pick<MedusaWeights, 'config' | 'tree' | 'read'>;
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
 *   read); `CONFIG` for a `block` with a type that has none, or `mixed` for `webgpu`; `TENSOR` for weights of the wrong
 *   shape or that cannot be stored; `ABORTED` when the signal fires; whatever the reader throws. Nothing is left behind
 *   then
 * @example
 * ```ts
 * const { model, parameters } = await loadCausalModel('runs/tuned');
 * await exportModel('runs/w8a8', { model, weights: readerOf(parameters), dtype: 'w8a8' });
 * ```
 */
export async function exportModel(dir: string, options: ExportOptions): Promise<ExportManifest> {
  const { model, dtype, device = 'cpu', replace = false, producer = '0' } = options;
  const block = storedBlock(options);
  const types = storageTypes[dtype];
  if (types.prompt !== undefined && device === 'webgpu') {
    throw new LinnetError('CONFIG', `${dtype} reads prompts with ${types.prompt}, which webgpu lacks; use int4 there`);
  }
  const errors = new Map<string, WeightError>();
  const makeSource = storedSource(model, options.weights, { dtype: types.step, block, device }, (name, error) => {
    errors.set(name, error);
  });
  const step = await encodeGraph(stepGraph(model, makeSource), exportedFiles.model, device, producer);
  const folds = await encodeFolds(model, makeSource, device, producer);
  const headErrors = new Map<string, WeightError>(); // apart, so that they stand behind those of the model
  const heads = await encodeHeads(options, device, producer, headErrors);
  const prompt = await encodePrompt(options, device, producer);
  const stored = [step, prompt, heads?.graph].filter((graph) => graph !== undefined);
  const totalBytes = stored.reduce((sum, { dataBytes }) => sum + dataBytes, 0);
  let manifest: ExportManifest | undefined;
  const build = async (folder: string): Promise<void> => {
    const graphBytes = stored.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    await requireDiskRoom(folder, graphBytes + totalBytes, 'the export', options.freeBytes);
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
    let done = 0;
    for (const graph of stored) {
      if (graph.parts.length > 0) {
        files[dataFileOf(graph.file)] = await writeData(folder, graph, { done, total: totalBytes }, options);
        done += graph.dataBytes;
      }
      await write(graph.file, graph.bytes);
    }
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
          ...(prompt === undefined ? {} : { prompt: { weightBytes: prompt.weightBytes } }),
          ...(heads === undefined ? {} : { medusa: heads.described }),
          weightBytes: step.weightBytes,
          producer,
          report: { weights: Object.fromEntries([...errors, ...inOrder(headErrors, heads?.names)]), ...measured },
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
  if (hasBlocks(dtype)) return block ?? defaultBlock;
  if (block === undefined) return undefined;
  throw new LinnetError('CONFIG', `block is ${block}, but ${dtype} has no blocks; int4 and mixed have`);
}

/** A graph whose weights lie in a file beside it. */
interface EncodedGraph extends StoredModel {
  readonly file: string;
  /** Bytes of all weights, wherever they lie. */
  readonly weightBytes: number;
}

async function encodeGraph(
  graph: Graph,
  file: string,
  device: ExportManifest['device'],
  producerVersion: string,
): Promise<EncodedGraph> {
  const lowered = lowerGraph(graph, device);
  const stored = await encodeForDisk(lowered, { dataFile: dataFileOf(file), inlineBytes: 0, producerVersion });
  const weights = [...lowered.initializers, ...(lowered.deferred ?? [])];
  const weightBytes = weights.reduce((sum, { tensor: { dtype, shape } }) => {
    return sum + elementCount(shape) * bytesPerElement[dtype];
  }, 0);
  return { ...stored, file, weightBytes };
}

/**
 * The step graph once more, with the weights that prompts are read with; undefined where those are the same. Their errors
 * are not reported: those of decoding are.
 */
async function encodePrompt(
  { model, weights, dtype, block }: ExportOptions,
  device: ExportManifest['device'],
  producer: string,
): Promise<EncodedGraph | undefined> {
  const { prompt } = storageTypes[dtype];
  if (prompt === undefined) return undefined;
  const makeSource = storedSource(model, weights, { dtype: prompt, block, device });
  return encodeGraph(stepGraph(model, makeSource), exportedFiles.prompt, device, producer);
}

interface EncodedHeads {
  readonly graph: EncodedGraph;
  /** Parameters in the order of the heads. */
  readonly names: readonly string[];
  readonly described: NonNullable<ExportManifest['medusa']>;
}

/** Undefined without heads. */
async function encodeHeads(
  options: ExportOptions,
  device: ExportManifest['device'],
  producer: string,
  errors: Map<string, WeightError>,
): Promise<EncodedHeads | undefined> {
  const { model, medusa, dtype } = options;
  if (medusa === undefined) return undefined;
  const { config, tree } = medusa;
  const { step } = storageTypes[dtype];
  const makeSource = storedSource(model, medusa, { dtype: step, block: options.block, device }, (name, error) => {
    errors.set(name, error);
  });
  const heads = medusaGraph(config, model.sizes, makeSource);
  const graph = await encodeGraph(heads, exportedFiles.medusa, device, producer);
  const { weightBytes } = graph;
  const names = [...medusaParameters(config, model.sizes).keys()];
  return { graph, names, described: { ...config, weightBytes, ...(tree === undefined ? {} : { tree }) } };
}

/** Head by head: the graph asks for their matrices in an order of its own. */
function inOrder(errors: ReadonlyMap<string, WeightError>, names: readonly string[] = []): [string, WeightError][] {
  return names.flatMap((name): [string, WeightError][] => {
    const error = errors.get(name);
    return error === undefined ? [] : [[name, error]];
  });
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
  const folds: EncodedFold[] = [];
  const layout = modelLayout(model);
  for (const { name, layer } of foldGraphs(layout)) {
    const lowered = lowerGraph(foldGraph(model, layer, makeSource, layout), device);
    const file = `fold-${folds.length}.onnx`;
    const { bytes } = await encodeForDisk(lowered, { dataFile: dataFileOf(file), producerVersion, load: true });
    folds.push({ name, file, bytes });
  }
  return folds;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** @param bytes of all files of weights: written before this one, and in total */
async function writeData(
  folder: string,
  { file, parts, dataBytes }: EncodedGraph,
  bytes: { readonly done: number; readonly total: number },
  { onProgress, signal }: ExportOptions,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  await writeFileAtomic(join(folder, dataFileOf(file)), (handle) =>
    writeModelData(handle, parts, (chunk, written) => {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'the export was stopped; nothing was written');
      hash.update(chunk);
      onProgress?.(bytes.done + written, bytes.total);
    }),
  );
  return { bytes: dataBytes, sha256: hash.digest('hex') };
}
