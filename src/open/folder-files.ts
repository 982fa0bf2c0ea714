/** Exported models in folders: checks everything it reads. */
import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import {
  assembleMtp,
  type ExportReader,
  type GraphRole,
  shapesAlone,
  type SignatureCheck,
  signatureCheck,
} from '../export/assemble.ts';
import { chosenDevice, dataFileOf, type ExportManifest, exportedFiles } from '../export/manifest.ts';
import { openInFolder, readPart, readInFolder, TRANSFER_BYTES } from '../files/regular-file.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import { readOnnxSummary } from '../graph/onnx/reader.ts';
import { MedusaHeads, medusaGraph } from '../models/medusa/medusa-heads.ts';
import { compile, type CompileOptions, openProgram } from '../runtime/compile.ts';
import { deviceAddsInOrder } from '../runtime/kernel-probes.ts';
import { type ExportedFolder, maximumReadBytes, type ModelFiles, readExport } from './model-files.ts';

/** Whether a folder claims to be one that `exportFolder` wrote, with graphs; others are Hugging Face folders. */
export async function isExport(folder: string): Promise<boolean> {
  return await lstat(join(folder, EXPORT_FILE)).then(
    () => true,
    () => false,
  );
}

/** How an exported folder is read. */
export interface ReadExportOptions {
  /**
   * Compare the checksum of every file. Default: only of files up to 64 MB, which are all but the weights; of those
   * the size alone.
   */
  readonly verify?: boolean;
  /** Bytes checked so far, and in total. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Files up to this size are hashed whenever a folder is opened: it takes no time. */
const alwaysVerifiedBytes = 64 << 20;

/**
 * Reads the contents of an exported folder.
 * @throws LinnetError `NOT_FOUND` for a missing folder or file, `FORMAT` for an invalid linnet.json or
 *   file, `PATH` for links and as `openInFolder` refuses, `CONFIG` for an unusable configuration
 * @example
 * ```ts
 * const { manifest } = await readExportedFolder('runs/tuned-int4', { verify: true });
 * ```
 */
export async function readExportedFolder(dir: string, options: ReadExportOptions = {}): Promise<ExportedFolder> {
  return readExport(folderFiles(dir, options));
}

/**
 * The Medusa heads of an exported folder. Dispose of them.
 * @throws LinnetError `NOT_FOUND` for a model that was exported without heads
 */
export async function openExportedHeads(
  { path, manifest, model: { sizes } }: ExportedFolder,
  options: CompileOptions = {},
): Promise<MedusaHeads> {
  if (manifest.medusa === undefined) {
    throw new LinnetError(
      'NOT_FOUND',
      `${path} was exported without Medusa heads; train them with "linnet medusa train" and export again`,
    );
  }
  const { heads, layers } = manifest.medusa;
  const graph = medusaGraph({ heads, layers }, sizes, shapesAlone);
  const check = signatureCheck(lowerGraph(graph, manifest.device), join(path, exportedFiles.medusa));
  const reader = folderFiles(path, options).graphs(manifest);
  return new MedusaHeads({ heads, layers }, sizes, await reader.openGraph(exportedFiles.medusa, 'heads', check));
}

/** The engine of the layer of multi-token prediction of an exported folder. Dispose of it. @throws LinnetError as `assembleMtp` */
export function openExportedMtp(
  { path, manifest, model }: ExportedFolder,
  options: CompileOptions,
): Promise<StepEngine> {
  return assembleMtp(folderFiles(path, options).graphs(manifest), manifest, model);
}

/** The files of a folder; weights stay in them and are mapped into memory. */
export function folderFiles(dir: string, options: ReadExportOptions & CompileOptions = {}): ModelFiles {
  const path = resolve(dir);
  const nameOf = (file: string): string => join(path, file);
  return {
    origin: path,
    nameOf,
    read: (file, most) => readInFolder(path, file, most, 'own'),
    check: (manifest) => checkFiles(path, manifest, options),
    graphs: (manifest) => folderGraphs({ path, manifest }, options),
  };
}

/** Graphs of a folder. @throws LinnetError `MISMATCH` for another device */
function folderGraphs(
  { path, manifest }: Pick<ExportedFolder, 'path' | 'manifest'>,
  { device, threads, worker, profile, spin = true }: CompileOptions,
): ExportReader {
  // "cpu" is the default everywhere: an export runs on the device that it was made for.
  const all = { device: chosenDevice(manifest, device === 'cpu' ? undefined : device, path), threads, worker };
  const options: Partial<Record<GraphRole, CompileOptions>> = {
    step: { ...all, profile, spin },
    prompt: { ...all, spin },
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
    openGraph: async (file, role, check) => openProgram(await checked(file, check), options[role] ?? all),
    async checkGraph(file, check) {
      await checked(file, check);
    },
    addsInOrder: () => deviceAddsInOrder(all.device, (graph) => compile(graph, all)),
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
          `${join(path, name)} has ${size} bytes, but ${EXPORT_FILE} says ${bytes}; the folder is incomplete or was changed`,
        );
      }
      if (!verify && bytes > alwaysVerifiedBytes) continue;
      const hash = createHash('sha256');
      const buffer = new Uint8Array(Math.min(TRANSFER_BYTES, bytes));
      for (let position = 0; position < bytes; ) {
        const bytesRead = await readPart(handle, buffer, position, join(path, name));
        if (bytesRead === 0) break;
        hash.update(buffer.subarray(0, bytesRead));
        position += bytesRead;
        done += bytesRead;
        onProgress?.(done, total);
      }
      if (hash.digest('hex') !== sha256) {
        throw new LinnetError(
          'FORMAT',
          `${join(path, name)} does not match its checksum in ${EXPORT_FILE}; export again`,
        );
      }
    } finally {
      await handle.close();
    }
  }
}
