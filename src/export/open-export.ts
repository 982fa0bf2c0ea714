/** Opens exported folders: everything that is read is checked, weights stay in the file and are mapped into memory. */
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { openInFolder, readInFolder, TRANSFER_BYTES } from '../files/regular-file.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import { readOnnxSummary } from '../graph/onnx/reader.ts';
import { medusaGraph, MedusaHeads } from '../models/medusa/medusa-heads.ts';
import type { GeneratingModel, ModelDescription } from '../models/model.ts';
import { type CompileOptions, openProgram } from '../runtime/compile.ts';
import {
  assembleEngine,
  exportIdentity,
  type ExportReader,
  exportedModel,
  type GraphRole,
  readManifest,
  shapesAlone,
  type SignatureCheck,
  signatureCheck,
} from './assemble.ts';
import { chosenDevice, dataFileOf, type ExportManifest, exportedFiles, maximumManifestBytes } from './manifest.ts';

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

/** How an exported folder is opened. */
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

/**
 * Reads what an exported folder holds.
 * @throws LinnetError `NOT_FOUND` for a folder that is none or lacks a file, `FORMAT` if linnet.json or a file is not
 *   what it should be, `PATH` for links and what else `openInFolder` refuses, `CONFIG` for an unusable configuration
 * @example
 * ```ts
 * const { manifest } = await readExportedFolder('runs/tuned-int4', { verify: true });
 * ```
 */
export async function readExportedFolder(dir: string, options: ReadExportOptions = {}): Promise<ExportedFolder> {
  const path = resolve(dir);
  const source = join(path, EXPORT_FILE);
  const bytes = await readInFolder(path, EXPORT_FILE, maximumManifestBytes, 'own');
  const manifest = readManifest(bytes, source);
  await checkFiles(path, manifest, options);
  const config = await readInFolder(path, exportedFiles.config, maximumReadBytes, 'own');
  const model = exportedModel(parseJsonObject(config, join(path, exportedFiles.config)), manifest, source);
  return { path, manifest, model, fingerprint: createHash('sha256').update(exportIdentity(manifest)).digest('hex') };
}

/**
 * Opens an exported folder for decoding. Its graphs must have exactly the inputs and outputs of the step graph of its
 * configuration.
 *
 * @param options its `device` is by default the one that the folder was exported for
 * @throws LinnetError as `readExportedFolder`; `MISMATCH` for a device that it was not exported for; `FORMAT` for graphs
 *   that do not belong to the configuration; `RUNTIME` if the engine refuses them
 * @example
 * ```ts
 * await using exported = await openExportedModel('runs/tuned-int4');
 * const state = exported.engine.newState();
 * ```
 */
export async function openExportedModel(dir: string, options: OpenExportOptions = {}): Promise<ExportedModel> {
  const folder = await readExportedFolder(dir, options);
  const engine = await assembleEngine(diskReader(folder, options), folder.manifest, folder.model);
  return { ...folder, engine, [Symbol.asyncDispose]: () => engine.dispose() };
}

/**
 * Opens the Medusa heads of an exported folder. Dispose of them.
 *
 * @param options as of `openExportedModel`, without what concerns the step graph
 * @throws LinnetError `NOT_FOUND` for a model that was exported without heads; else as `openExportedModel`
 * @example
 * ```ts
 * await using heads = await openExportedHeads(await readExportedFolder('runs/tuned-int4'));
 * ```
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
  const check = signatureCheck(lowerGraph(graph, manifest.device), join(path, exportedFiles.medusa));
  const program = await diskReader(folder, options).openGraph(exportedFiles.medusa, 'heads', check);
  return new MedusaHeads({ heads, layers }, model.sizes, program);
}

/** Graphs of a folder on a disk; their weights stay in the file. @throws LinnetError `MISMATCH` for another device */
function diskReader(
  { path, manifest }: Pick<ExportedFolder, 'path' | 'manifest'>,
  { device, threads, worker, profile, spin = true }: CompileOptions,
): ExportReader {
  const all = { device: chosenDevice(manifest, device, path), threads, worker };
  const options: Readonly<Record<GraphRole, CompileOptions>> = {
    step: { ...all, profile, spin },
    prompt: { ...all, spin },
    fold: all,
    heads: all,
    encoder: all,
  };
  const checked = async (file: string, check: SignatureCheck): Promise<Parameters<typeof openProgram>[0]> => {
    const source = join(path, file);
    const bytes = await readInFolder(path, file, maximumReadBytes, 'own');
    const { name, inputs, outputs, nodes, external } = readOnnxSummary(bytes, source);
    const dataFile = dataFileOf(file);
    const dataBytes = Object.hasOwn(manifest.files, dataFile) ? manifest.files[dataFile].bytes : 0;
    for (const { path: data, offset, length } of external) {
      if (data !== dataFile || offset + length > dataBytes) {
        throw new LinnetError('FORMAT', `${source} has a weight outside of ${dataFile}`);
      }
    }
    check(inputs, outputs);
    const modelBytes = bytes.byteLength + dataBytes;
    return { model: { name, file: source }, inputs, outputs, nodes, modelBytes };
  };
  return {
    nameOf: (file) => join(path, file),
    openGraph: async (file, role, check) => openProgram(await checked(file, check), options[role]),
    async checkGraph(file, check) {
      await checked(file, check);
    },
  };
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
    const { handle, size } = await openInFolder(path, name, 'own');
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
