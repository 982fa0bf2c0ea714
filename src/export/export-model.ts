/**
 * Exports a model that generates text as ONNX: the step graph with its weights next to it, a prompt graph if the type has
 * one, an encoder-decoder model's encoder, the fold graphs, Medusa heads, configuration, tokenizer, and linnet.json, which
 * describes them. Streams weights in pieces; the folder appears when complete.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EXPORT_FILE, TEMPLATE_FOLDER } from '../checkpoint/folder-files.ts';
import { hasMedusaHeads, type MedusaWeights, openMedusaHeads } from '../checkpoint/medusa-files.ts';
import { type SaveCheckpointOptions, writeTokenizerFiles } from '../checkpoint/save-checkpoint.ts';
import { internalError, LinnetError } from '../errors.ts';
import { writeFileAtomic, writeJsonAtomic } from '../files/atomic.ts';
import { writeFolderAtomic } from '../files/written-folder.ts';
import { requireDiskRoom } from '../files/disk-room.ts';
import type { BlockSize } from '../graph/ops/quantized.ts';
import { mtpStepModel } from '../models/graphs/mtp-graph.ts';
import type { GeneratingModel } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import type { WeightError } from '../quantization/encoding.ts';
import { EncodingThreads } from '../quantization/encoding-threads.ts';
import { blockForSize } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import {
  type EncodedGraphs,
  encodeEncoder,
  encodeFolds,
  encodeHeads,
  encodePrompt,
  encodeStep,
  type EncodingOptions,
  type OnWeightError,
} from './encoded-graphs.ts';
import { findTemplates } from '../tokenizer/chat-template-sources.ts';
import { templatesIn } from '../tokenizer/tokenizer.ts';
import {
  exportedFiles,
  type ExportManifest,
  hasBlocks,
  manifestVersion,
  parseManifest,
  type StorageType,
  storageTypes,
  formsOfExport,
} from './manifest.ts';
import { writeModelData } from './onnx-model.ts';
import { sha256 } from '../files/digest.ts';
import { type ModelWeights, openModelWeights } from '../checkpoint/load-model.ts';
import { requireGenerating } from '../models/families/index.ts';
import { requireKind, requirePath } from '../files/arguments.ts';
import { remove } from '../files/remove.ts';

/** Options of `exportModel`. */
export interface ExportOptions {
  /** The model to export. */
  readonly model: GeneratingModel;
  /** Source of its parameters: a checkpoint, memory, a generator. Each is read once or twice per set of weights. */
  readonly weights: WeightReader;
  /**
   * How to store matrices and tables; everything else is float32. `mixed` stores them twice: w8a8 for prompts, int4 for
   * decoding.
   */
  readonly dtype: StorageType;
  /**
   * Weights per int4 scale, also in `mixed`: 32, 64 or 128; fewer in rows that fit one smaller block. Default:
   * `blockForSize`.
   */
  readonly block?: BlockSize;
  /**
   * Lengths to export an encoder-decoder model's encoder for; texts are padded to the next. Default: doubling from 32 to the
   * model's trained length.
   */
  readonly sourceLengths?: readonly number[];
  /** The model's Medusa heads, stored like its step graph. Default: none. */
  readonly medusa?: Pick<MedusaWeights, 'config' | 'tree' | 'read'>;
  /** Whether the weights hold the model's multi-token prediction layer, which is then also exported. Default: false. */
  readonly mtp?: boolean;
  /** The graph's target device. Default: `cpu`, also for `wasm`. */
  readonly device?: ExportManifest['device'];
  /** As in `saveModel`. Default: none; callers then pass token ids. */
  readonly tokenizerFiles?: SaveCheckpointOptions['tokenizerFiles'];
  /** Replace the folder if it exists. Default: false. */
  readonly replace?: boolean;
  /** The writer's version, for linnet.json and the model. Default: "0". */
  readonly producer?: string;
  /** Bytes of weights written so far, and in total. */
  readonly onProgress?: (written: number, total: number) => void;
  /** Stops the work, with an error `ABORTED`. Leaves nothing of the folder. */
  readonly signal?: AbortSignal;
  /** Free bytes on a folder's disk. Default: as the file system reports. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/**
 * Exports a model.
 *
 * @returns linnet.json's contents
 * @throws LinnetError `PATH` if the folder exists and may not be replaced, or the disk lacks room (before any weight is
 *   read); `CONFIG` for a `block` with a type without blocks, `mixed` for `webgpu`, or source lengths the model cannot have;
 *   `TENSOR` for weights with the wrong shape or that cannot be stored; `ABORTED` when the signal fires; and the reader's
 *   errors. Nothing is left behind
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
  await using threads = largeModel(options) ? new EncodingThreads() : undefined;
  const encoding: EncodingOptions = { model, weights: options.weights, dtype, block, device, producer, threads };
  const noteIn =
    (errors: Map<string, WeightError>): OnWeightError =>
    (name, error) => {
      errors.set(name, error);
    };
  // Separate, so that the encoder's errors come first and the heads' last, in whatever order they are written.
  const [encoderErrors, errors, headErrors] = [0, 1, 2].map(() => new Map<string, WeightError>());
  const encoder = await encodeEncoder(encoding, options.sourceLengths, noteIn(encoderErrors));
  const mtp = options.mtp === true ? mtpStepModel(model) : undefined;
  const step = await encodeStep(encoding, noteIn(errors), mtp);
  const folds = await encodeFolds(encoding);
  const heads = options.medusa && (await encodeHeads(options.medusa, encoding, noteIn(headErrors)));
  // Head by head: the graph requests their matrices in its own order.
  const place = ([name]: readonly [string, unknown]): number => heads?.names.indexOf(name) ?? -1;
  const prompt = await encodePrompt(encoding);
  const stored = [encoder, step, prompt, heads?.graph].filter((graphs) => graphs !== undefined);
  const totalBytes = stored.reduce((sum, { dataBytes }) => sum + dataBytes, 0);
  let manifest: ExportManifest | undefined;
  const build = async (folder: string): Promise<void> => {
    const graphBytes = stored.flatMap(({ graphs }) => graphs).reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    await requireDiskRoom(folder, graphBytes + totalBytes, 'the export', options.freeBytes);
    const files: Record<string, { bytes: number; sha256: string }> = {};
    const write = async (name: string, bytes: Uint8Array): Promise<void> => {
      await writeFileAtomic(join(folder, name), bytes);
      files[name] = { bytes: bytes.byteLength, sha256: sha256(bytes) };
    };
    await writeTokenizerFiles(folder, options.tokenizerFiles);
    await joinTemplates(folder);
    for (const name of (await readdir(folder)).sort()) {
      const bytes = await readFile(join(folder, name));
      files[name] = { bytes: bytes.byteLength, sha256: sha256(bytes) };
    }
    await write(exportedFiles.config, new TextEncoder().encode(`${JSON.stringify(model.toJson(), undefined, 2)}\n`));
    let done = 0;
    for (const graphs of stored) {
      if (graphs.parts.length > 0) {
        files[graphs.dataFile] = await writeData(folder, graphs, { done, total: totalBytes }, options);
        done += graphs.dataBytes;
      }
      for (const { file, bytes } of graphs.graphs) await write(file, bytes);
    }
    for (const { file, bytes } of folds) await write(file, bytes);
    const forms = formsOfExport({ device, block });
    manifest = parseManifest(
      {
        format: 'linnet-export',
        version: manifestVersion,
        dtype,
        block,
        device,
        openRows: forms.opens || undefined,
        replays: forms.replays || undefined,
        productRows: forms.productRows || undefined,
        ordered: true,
        withinFolds: !forms.crossesFolds || undefined,
        columns: forms.columns || undefined,
        files,
        folds: Object.fromEntries(folds.map(({ name, file }) => [name, file])),
        prompt: prompt && { weightBytes: prompt.weightBytes },
        encoder: encoder && { lengths: encoder.lengths, weightBytes: encoder.weightBytes },
        medusa: heads?.described,
        mtp: step.mtpBytes === undefined ? undefined : { weightBytes: step.mtpBytes },
        weightBytes: step.weightBytes,
        producer,
        report: {
          weights: Object.fromEntries([
            ...encoderErrors,
            ...errors,
            ...[...headErrors].sort((a, b) => place(a) - place(b)),
          ]),
        },
      },
      EXPORT_FILE,
    );
    await writeJsonAtomic(join(folder, EXPORT_FILE), manifest);
  };
  await writeFolderAtomic(dir, build, { replace });
  if (manifest === undefined) throw internalError('a folder was exported without linnet.json');
  return manifest;
}

/** Whether the model is large enough for threads to pay off. */
function largeModel({ model, weights, dtype }: ExportOptions): boolean {
  return dtype !== 'f32' && weights.place !== undefined && parameterCount(model.parameters) >= 2 ** 26;
}

/** Weights per scale, if the type has blocks. @throws LinnetError `CONFIG` for a block size with another type */
function storedBlock({ model, dtype, block }: ExportOptions): BlockSize | undefined {
  if (hasBlocks(dtype)) return block ?? blockForSize(model.parameters);
  if (block === undefined) return undefined;
  throw new LinnetError('CONFIG', `block is ${block}, but ${dtype} has no blocks; only int4 and mixed do`);
}

/** Joins a folder's chat templates into one file: an export has no folders inside, and can be behind a URL. */
async function joinTemplates(folder: string): Promise<void> {
  const found = existsSync(join(folder, TEMPLATE_FOLDER)) ? await findTemplates(templatesIn(folder)) : undefined;
  await remove(join(folder, TEMPLATE_FOLDER));
  if (found === undefined) return;
  const named = Object.entries(found.templates).map(([name, template]) => ({ name, template }));
  await writeJsonAtomic(join(folder, 'chat_template.json'), { chat_template: named });
  await rm(join(folder, 'chat_template.jinja'), { force: true });
}

/** @param bytes of all weight files: already written, and in total */
async function writeData(
  folder: string,
  { dataFile, parts, dataBytes }: EncodedGraphs,
  bytes: { readonly done: number; readonly total: number },
  { onProgress, signal }: ExportOptions,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  await writeFileAtomic(join(folder, dataFile), (handle) =>
    writeModelData(handle, parts, (chunk, written) => {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'the export was stopped; nothing was written');
      hash.update(chunk);
      onProgress?.(bytes.done + written, bytes.total);
    }),
  );
  return { bytes: dataBytes, sha256: hash.digest('hex') };
}

/**
 * Exports a folder's model, with its tokenizer and Medusa heads.
 * @throws LinnetError like `openModelWeights`, `headsOfFolder` and `exportModel`; `CONFIG` for a model that generates nothing
 * @example
 * ```ts
 * await exportFolder('runs/tuned', 'runs/tuned-int4', { dtype: 'int4' });
 * ```
 */
export async function exportFolder(
  from: string,
  to: string,
  options: Omit<ExportOptions, 'model' | 'weights' | 'medusa' | 'mtp' | 'tokenizerFiles'>,
): Promise<ExportManifest> {
  requirePath(from, 'the folder of the model');
  requirePath(to, 'the folder of the export');
  requireKind(options, 'the options of exportFolder', ['dtype'], 'an object with dtype');
  await using weights = await openModelWeights(from);
  const model = requireGenerating(weights.model);
  await using medusa = await headsOfFolder(weights);
  const mtp = mtpStepModel(model, weights.names) !== undefined;
  return await exportModel(to, { ...options, model, weights, medusa, mtp, tokenizerFiles: { from: weights.path } });
}

/**
 * The Medusa heads next to a model, undefined if there are none. If there are, reads all the model's weights once to check
 * that the heads belong to it. Dispose of them.
 * @throws LinnetError like `openMedusaHeads`; `CONFIG` for a model that generates nothing
 */
export async function headsOfFolder(weights: ModelWeights): Promise<MedusaWeights | undefined> {
  const { path } = weights;
  if (!(await hasMedusaHeads(path))) return undefined;
  const model = requireGenerating(weights.model);
  return openMedusaHeads(path, { model, fingerprint: await weights.fingerprint() });
}
