/** Opens exported folders: everything that is read is checked, weights stay in the file and are mapped into memory. */
import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { checkMedusaTree } from '../checkpoint/medusa-trees.ts';
import { openInFolder, readInFolder, TRANSFER_BYTES } from '../files/regular-file.ts';
import { listedLengths, SourceEncoder } from '../decoding/source-encoder.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import type { Graph, ValueType } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import { readOnnxSummary } from '../graph/onnx/reader.ts';
import { formatShape } from '../graph/shape.ts';
import { encoderSignature } from '../models/encoder-graph.ts';
import { medusaGraph, MedusaHeads } from '../models/medusa-heads.ts';
import { decoderOf, type EncoderDecoderModel, type GeneratingModel, type ModelDescription } from '../models/model.ts';
import { foldGraph } from '../models/fold-graph.ts';
import { foldGraphs, modelLayout } from '../models/model-layout.ts';
import { stepGraph } from '../models/step-graph.ts';
import { storedParameters, unreadable } from '../quantization/sources.ts';
import { type CompileOptions, openProgram, type Program } from '../runtime/compile.ts';
import {
  chosenDevice,
  dataFileOf,
  encoderFileOf,
  exportedModelOf,
  type ExportManifest,
  exportedFiles,
  maximumManifestBytes,
  parseManifest,
} from './manifest.ts';

/** An exported folder whose files were checked; nothing runs yet. */
export interface ExportedFolder {
  /** Absolute. */
  readonly path: string;
  readonly manifest: ExportManifest;
  readonly model: GeneratingModel;
  /** SHA-256 of what the files are: what ties session files to an export. Storage types differ in it. */
  readonly fingerprint: string;
}

/** An exported model that decodes. Dispose of it. */
export interface ExportedModel extends ExportedFolder, AsyncDisposable {
  readonly engine: StepEngine;
}

export interface ReadExportOptions {
  /**
   * Compare the checksum of every file. Default: only of files up to 64 MB, which are all but the weights; of those
   * the size alone.
   */
  readonly verify?: boolean;
  /** Bytes checked so far, of all that are. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** `profile` is for the step graph alone, `spin`, which is on by default, for that of prompts as well. */
export type OpenExportOptions = ReadExportOptions & CompileOptions;

/** Files up to this size are hashed whenever a folder is opened: it takes no time. */
const alwaysVerifiedBytes = 64 << 20;
/** Largest graph and configuration that are read; the weights are elsewhere. */
const maximumReadBytes = 128 << 20;

/** Whether a folder says that it is an exported one, rightly or not. */
export async function isExportedFolder(dir: string): Promise<boolean> {
  return lstat(join(dir, EXPORT_FILE)).then(
    () => true,
    () => false,
  );
}

/**
 * Reads what an exported folder holds.
 * @throws LinnetError `NOT_FOUND` for a folder that is none or lacks a file, `FORMAT` if linnet.json or a file is not
 *   what it should be, `PATH` for links and what else `openInFolder` refuses, `CONFIG` for an unusable configuration
 */
export async function readExportedFolder(dir: string, options: ReadExportOptions = {}): Promise<ExportedFolder> {
  const path = resolve(dir);
  const source = join(path, EXPORT_FILE);
  const bytes = await readInFolder(path, EXPORT_FILE, maximumManifestBytes);
  const manifest = parseManifest(parseJsonObject(bytes, source, { uniqueKeys: true }), source);
  await checkFiles(path, manifest, options);
  const config = await readInFolder(path, exportedFiles.config, maximumReadBytes);
  const model = exportedModelOf(parseJsonObject(config, join(path, exportedFiles.config)), manifest, source);
  const { medusa } = manifest;
  if (medusa?.tree !== undefined) {
    checkMedusaTree(medusa.tree.paths, medusa.heads, model.sizes.vocabulary, source);
  }
  return { path, manifest, model, fingerprint: fingerprintOf(manifest) };
}

/**
 * Opens an exported folder for decoding. Its graphs must have exactly the inputs and outputs of the step graph of its
 * configuration.
 *
 * @param options.device default: the one it was exported for
 * @throws LinnetError as `readExportedFolder`; `MISMATCH` for a device that it was not exported for; `FORMAT` for graphs
 *   that do not belong to the configuration; `RUNTIME` if the engine refuses them
 */
export async function openExportedModel(dir: string, options: OpenExportOptions = {}): Promise<ExportedModel> {
  const folder = await readExportedFolder(dir, options);
  const { path, manifest, model } = folder;
  const compile = engineOf(folder, options);
  const decoder = decoderOf(model);
  const layout = modelLayout(decoder);
  const step = stepGraph(decoder, shapesAlone, layout);
  const opened: Program[] = [];
  try {
    const open = async (file: string, graph: Graph, own: CompileOptions = {}): Promise<Program> => {
      const program = await openGraph(folder, file, graph, { ...compile, ...own });
      opened.push(program);
      return program;
    };
    const { profile, spin = true } = options;
    const program = await open(exportedFiles.model, step, { profile, spin });
    const prompt = manifest.prompt === undefined ? undefined : await open(exportedFiles.prompt, step, { spin });
    const folds = new Map<string, Program>();
    for (const { name, layer } of foldGraphs(layout)) {
      const file = Object.hasOwn(manifest.folds, name) ? manifest.folds[name] : undefined;
      if (file === undefined) {
        throw new LinnetError('FORMAT', `${join(path, EXPORT_FILE)} names no fold graph for ${JSON.stringify(name)}`);
      }
      folds.set(name, await open(file, foldGraph(decoder, layer, shapesAlone, layout)));
    }
    const encoder = model.kind === 'causal' ? undefined : await openEncoder(folder, model, compile);
    const engine = new StepEngine(decoder, program, folds, { prompt, encoder }, layout);
    return { ...folder, engine, [Symbol.asyncDispose]: () => engine.dispose() };
  } catch (error) {
    for (const program of opened) await program.dispose();
    throw error;
  }
}

/**
 * The encoder of a folder: its graphs are checked now, and opened when a text of their length is read.
 * @throws LinnetError as `checkedGraph`
 */
async function openEncoder(
  folder: Pick<ExportedFolder, 'path' | 'manifest'>,
  model: EncoderDecoderModel,
  compile: CompileOptions,
): Promise<SourceEncoder> {
  const lengths = folder.manifest.encoder?.lengths ?? [];
  for (const length of lengths) await checkedGraph(folder, encoderFileOf(length), encoderSignature(model, length));
  return new SourceEncoder(model, {
    ...listedLengths(lengths),
    async compile(length) {
      return openProgram(await checkedGraph(folder, encoderFileOf(length), encoderSignature(model, length)), compile);
    },
  });
}

/**
 * Opens the Medusa heads of an exported folder. Dispose of them.
 *
 * @param options as of `openExportedModel`, without what concerns the step graph
 * @throws LinnetError `NOT_FOUND` for a model that was exported without heads; else as `openExportedModel`
 */
export async function openExportedHeads(
  folder: Pick<ExportedFolder, 'path' | 'manifest'> & { readonly model: Pick<ModelDescription, 'sizes'> },
  options: Pick<CompileOptions, 'device' | 'threads' | 'worker'> = {},
): Promise<MedusaHeads> {
  const { path, manifest, model } = folder;
  if (manifest.medusa === undefined) {
    throw new LinnetError(
      'NOT_FOUND',
      `${path} was exported without Medusa heads; train them with "linnet medusa train", and export the model again`,
    );
  }
  const { heads, layers } = manifest.medusa;
  const graph = medusaGraph({ heads, layers }, model.sizes, shapesAlone);
  const program = await openGraph(folder, exportedFiles.medusa, graph, engineOf(folder, options));
  return new MedusaHeads({ heads, layers }, model.sizes, program);
}

/** What all graphs of a folder run with. @throws LinnetError `MISMATCH` for a device that it was not exported for */
function engineOf(
  { path, manifest }: Pick<ExportedFolder, 'path' | 'manifest'>,
  { device, threads, worker }: CompileOptions,
): CompileOptions {
  return { device: chosenDevice(manifest, device, path), threads, worker };
}

const shapesAlone = (graph: Graph) => storedParameters('f32', graph, unreadable);

interface Signature {
  readonly inputs: readonly (ValueType & { readonly name: string; readonly optional?: boolean })[];
  readonly outputs: readonly (ValueType & { readonly name: string })[];
}

/** @param graph what the file must have the inputs and outputs of; its weights are not read */
async function openGraph(
  folder: Pick<ExportedFolder, 'path' | 'manifest'>,
  file: string,
  graph: Graph,
  options: CompileOptions,
): Promise<Program> {
  return openProgram(await checkedGraph(folder, file, lowerGraph(graph, folder.manifest.device)), options);
}

/**
 * A graph of a folder, as it is opened.
 * @throws LinnetError `FORMAT` for inputs and outputs other than those expected, and for weights out of its file of weights
 */
async function checkedGraph(
  { path, manifest }: Pick<ExportedFolder, 'path' | 'manifest'>,
  file: string,
  expected: Signature,
): Promise<Parameters<typeof openProgram>[0]> {
  const source = join(path, file);
  const bytes = await readInFolder(path, file, maximumReadBytes);
  const { name, inputs, outputs, nodes, external } = readOnnxSummary(bytes, source);
  const dataFile = dataFileOf(file);
  const dataBytes = Object.hasOwn(manifest.files, dataFile) ? manifest.files[dataFile].bytes : 0;
  for (const { path: data, offset, length } of external) {
    if (data !== dataFile || offset + length > dataBytes) {
      throw new LinnetError('FORMAT', `${source} has a weight outside of ${dataFile}`);
    }
  }
  const needed = expected.inputs.filter(({ name: input, optional }) => optional !== true || inputs.has(input));
  requireSame(source, 'input', inputs, needed);
  requireSame(source, 'output', outputs, expected.outputs);
  const modelBytes = bytes.byteLength + dataBytes;
  return { model: { name, file: source }, inputs, outputs, nodes, modelBytes };
}

function requireSame(
  source: string,
  what: string,
  found: ReadonlyMap<string, ValueType>,
  expected: Signature['inputs'],
): void {
  const surplus = [...found.keys()].find((name) => !expected.some((value) => value.name === name));
  if (surplus !== undefined) {
    throw new LinnetError('FORMAT', `${source} has the ${what} "${surplus}", which its configuration does not ask for`);
  }
  for (const { name, dtype, shape } of expected) {
    const type = found.get(name);
    const described = type === undefined ? 'missing' : `${type.dtype}${formatShape(type.shape)}`;
    if (described === `${dtype}${formatShape(shape)}`) continue;
    throw new LinnetError(
      'FORMAT',
      `${source}: ${what} "${name}" is ${described}, its configuration asks for ${dtype}${formatShape(shape)}`,
    );
  }
}

/** @throws LinnetError `FORMAT` for a file of another size or content */
async function checkFiles(
  path: string,
  { files }: ExportManifest,
  { verify = false, onProgress }: ReadExportOptions,
): Promise<void> {
  const hashed = Object.values(files).filter(({ bytes }) => verify || bytes <= alwaysVerifiedBytes);
  const total = hashed.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  for (const [name, { bytes, sha256 }] of Object.entries(files)) {
    const { handle, size } = await openInFolder(path, name);
    try {
      if (size !== bytes) {
        throw new LinnetError(
          'FORMAT',
          `${join(path, name)} has ${size} bytes, ${EXPORT_FILE} says ${bytes}; the folder is incomplete or was changed`,
        );
      }
      if (!verify && bytes > alwaysVerifiedBytes) continue;
      const hash = createHash('sha256');
      const buffer = new Uint8Array(Math.min(TRANSFER_BYTES, bytes));
      for (let position = 0; position < bytes; ) {
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
        if (bytesRead === 0) break;
        hash.update(buffer.subarray(0, bytesRead));
        position += bytesRead;
        done += bytesRead;
        onProgress?.(done, total);
      }
      if (hash.digest('hex') !== sha256) {
        throw new LinnetError(
          'FORMAT',
          `${join(path, name)} is not the file that ${EXPORT_FILE} describes: its checksum differs; export again`,
        );
      }
    } finally {
      await handle.close();
    }
  }
}

/** Tokenizer files do not count, nor do heads: they change no number of the model. */
function fingerprintOf({ dtype, device, files, folds, prompt, encoder }: ExportManifest): string {
  const counted = [exportedFiles.config, exportedFiles.model, dataFileOf(exportedFiles.model), ...Object.values(folds)];
  if (prompt !== undefined) counted.push(exportedFiles.prompt, dataFileOf(exportedFiles.prompt));
  counted.push(...(encoder?.lengths ?? []).map(encoderFileOf).flatMap((file) => [file, dataFileOf(file)]));
  const parts = [...new Set(counted)].sort().map((name) => [name, files[name]?.sha256 ?? null]);
  return createHash('sha256')
    .update(`linnet export 1\n${JSON.stringify([dtype, device, parts])}`)
    .digest('hex');
}
