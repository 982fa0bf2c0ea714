/**
 * Writes a model that generates text as ONNX: the step graph with its weights next to it, another for prompts where the
 * type has one, the encoder of an encoder-decoder model, the fold graphs, Medusa heads, configuration, tokenizer, and
 * linnet.json, which describes them. Weights pass through in pieces; the folder appears when it is complete.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EXPORT_FILE, TEMPLATE_FOLDER } from '../checkpoint/folder-files.ts';
import { hasMedusaHeads, type MedusaWeights, openMedusaHeads } from '../checkpoint/medusa-files.ts';
import { type SaveCheckpointOptions, writeTokenizerFiles } from '../checkpoint/save-checkpoint.ts';
import { internalError, LinnetError } from '../errors.ts';
import { writeFileAtomic } from '../files/atomic.ts';
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
  /** The model whose graphs are written. */
  readonly model: GeneratingModel;
  /** Where its parameters come from: a checkpoint, memory, a generator. Each is read once or twice per set of weights. */
  readonly weights: WeightReader;
  /** How matrices and tables are stored; the rest is float32. `mixed` stores them twice: w8a8 for prompts, else int4. */
  readonly dtype: StorageType;
  /** Weights per scale of int4, also in `mixed`: 32, 64 or 128; fewer in rows that one smaller block holds. Default: `blockForSize`. */
  readonly block?: BlockSize;
  /**
   * Lengths that the encoder of an encoder-decoder model is exported for; texts are padded to the next. Default: by doubling
   * from 32 up to the length that the model was trained for.
   */
  readonly sourceLengths?: readonly number[];
  /** Medusa heads of the model, stored as its step graph is. Default: none. */
  readonly medusa?: Pick<MedusaWeights, 'config' | 'tree' | 'read'>;
  /** Whether the weights hold the model's layer of multi-token prediction, which is then exported too. Default: false. */
  readonly mtp?: boolean;
  /** Device that the graph is made for. Default: `cpu`, which is for `wasm` too. */
  readonly device?: ExportManifest['device'];
  /** As of `saveModel`. Default: none; such a model is given token ids. */
  readonly tokenizerFiles?: SaveCheckpointOptions['tokenizerFiles'];
  /** Replace the folder if it exists. Default: false. */
  readonly replace?: boolean;
  /** Version of the writer, for linnet.json and the model. Default: "0". */
  readonly producer?: string;
  /** Bytes of weights written, of all. */
  readonly onProgress?: (written: number, total: number) => void;
  /** Stops the work, with an error `ABORTED`. Nothing is left of the folder. */
  readonly signal?: AbortSignal;
  /** Free bytes where a folder lies. Default: as the file system reports. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/**
 * Exports a model.
 *
 * @returns the contents of linnet.json
 * @throws LinnetError `PATH` if the folder exists and may not be replaced, or the disk lacks room (before any weight is
 *   read); `CONFIG` for a `block` with a type that has none, `mixed` for `webgpu`, or source lengths that the
 *   model cannot have; `TENSOR` for weights of the wrong
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
  await using threads = largeModel(options) ? new EncodingThreads() : undefined;
  const encoding: EncodingOptions = { model, weights: options.weights, dtype, block, device, producer, threads };
  const noteIn =
    (errors: Map<string, WeightError>): OnWeightError =>
    (name, error) => {
      errors.set(name, error);
    };
  // Apart, so that the encoder's errors come first and the heads' last, in whatever order they are written.
  const [encoderErrors, errors, headErrors] = [0, 1, 2].map(() => new Map<string, WeightError>());
  const encoder = await encodeEncoder(encoding, options.sourceLengths, noteIn(encoderErrors));
  const mtp = options.mtp === true ? mtpStepModel(model) : undefined;
  const step = await encodeStep(encoding, noteIn(errors), mtp);
  const folds = await encodeFolds(encoding);
  const heads = options.medusa && (await encodeHeads(options.medusa, encoding, noteIn(headErrors)));
  // Head by head: the graph asks for their matrices in an order of its own.
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
    await writeFileAtomic(join(folder, EXPORT_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
  };
  await writeFolderAtomic(dir, build, { replace });
  if (manifest === undefined) throw internalError('a folder was exported without linnet.json');
  return manifest;
}

/** Whether threads pay for themselves. */
function largeModel({ model, weights, dtype }: ExportOptions): boolean {
  return dtype !== 'f32' && weights.place !== undefined && parameterCount(model.parameters) >= 2 ** 26;
}

/** Weights per scale, where the type has blocks. @throws LinnetError `CONFIG` for a block size of another type */
function storedBlock({ model, dtype, block }: ExportOptions): BlockSize | undefined {
  if (hasBlocks(dtype)) return block ?? blockForSize(model.parameters);
  if (block === undefined) return undefined;
  throw new LinnetError('CONFIG', `block is ${block}, but ${dtype} has no blocks; int4 and mixed have`);
}

/** Puts the chat templates of a folder into one file: an export has no folders inside, and can be behind a URL. */
async function joinTemplates(folder: string): Promise<void> {
  const found = existsSync(join(folder, TEMPLATE_FOLDER)) ? await findTemplates(templatesIn(folder)) : undefined;
  await remove(join(folder, TEMPLATE_FOLDER));
  if (found === undefined) return;
  const named = Object.entries(found.templates).map(([name, template]) => ({ name, template }));
  await writeFileAtomic(
    join(folder, 'chat_template.json'),
    `${JSON.stringify({ chat_template: named }, undefined, 2)}\n`,
  );
  await rm(join(folder, 'chat_template.jinja'), { force: true });
}

/** @param bytes of all files of weights: written before this one, and in total */
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
 * Exports the model of a folder, with its tokenizer and Medusa heads.
 * @throws LinnetError as `openModelWeights`, `headsOfFolder` and `exportModel`; `CONFIG` for a model that generates nothing
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
 * The Medusa heads next to a model, undefined where there are none. Reads all weights of the model once where there are,
 * to find out whether the heads are its own. Dispose of them.
 * @throws LinnetError as `openMedusaHeads`; `CONFIG` for a model that generates nothing
 */
export async function headsOfFolder(weights: ModelWeights): Promise<MedusaWeights | undefined> {
  const { path } = weights;
  if (!(await hasMedusaHeads(path))) return undefined;
  const model = requireGenerating(weights.model);
  return openMedusaHeads(path, { model, fingerprint: await weights.fingerprint() });
}
