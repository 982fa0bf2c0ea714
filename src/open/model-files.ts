/** The files of an exported model, in a folder or behind a URL, and their contents. Runs in browsers too. */
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { ifFound } from '../errors.ts';
import { assembleEngine, exportedModel, exportIdentity, type ExportReader, readManifest } from '../export/assemble.ts';
import { type ExportManifest, exportedFiles, maximumManifestBytes } from '../export/manifest.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import type { GeneratingModel } from '../models/model.ts';
import { EncoderDecoder, LanguageModel, type WriterParts } from './language-model.ts';
import type { ModelSurroundings } from './opened-model.ts';
import { sha256Of } from './remote-folder.ts';

/** How the files of an exported model are reached: all in which a folder and a URL differ. */
export interface ModelFiles extends Pick<ExportReader, 'nameOf'> {
  /** Absolute path of the folder, or its URL. */
  readonly origin: string;
  /** Reads a whole file. @throws LinnetError `NOT_FOUND` if it is missing, `FORMAT` for more than `most` bytes */
  read(file: string, most: number): Promise<Uint8Array>;
  /** Makes sure, before any other file is read, that the files are the ones that linnet.json lists. */
  check(manifest: ExportManifest): Promise<void>;
  graphs(manifest: ExportManifest): ExportReader;
}

/** An exported folder whose files were checked; nothing runs yet. */
export interface ExportedFolder {
  /** Absolute path, or URL. */
  readonly path: string;
  readonly manifest: ExportManifest;
  readonly model: GeneratingModel;
  /** SHA-256 over the files' identity, which ties session files to an export. Storage types differ in it. */
  readonly fingerprint: string;
}

/** Largest graph and configuration to read; weights are elsewhere. */
export const maximumReadBytes = 128 << 20;

/** Reads the files. @throws LinnetError as `readExportedFolder` */
export async function readExport(files: ModelFiles): Promise<ExportedFolder> {
  const source = files.nameOf(EXPORT_FILE);
  const manifest = readManifest(await files.read(EXPORT_FILE, maximumManifestBytes), source);
  await files.check(manifest);
  const config = await files.read(exportedFiles.config, maximumReadBytes);
  const model = exportedModel(parseJsonObject(config, files.nameOf(exportedFiles.config)), manifest, source);
  const fingerprint = await sha256Of(new TextEncoder().encode(exportIdentity(manifest)));
  return { path: files.origin, manifest, model, fingerprint };
}

/** A JSON file, if it exists. */
export async function readJson(files: ModelFiles, file: string): Promise<JsonObject | undefined> {
  const bytes = await readIfPresent(files, file);
  return bytes && parseJsonObject(bytes, files.nameOf(file));
}

/** A small file, if it exists. */
export function readIfPresent(files: ModelFiles, file: string): Promise<Uint8Array | undefined> {
  return ifFound(files.read(file, maximumReadBytes));
}

/** Parts of an exported model that lie next to its graphs. */
type Companions = ModelSurroundings & Pick<WriterParts<never>, 'heads' | 'mtp' | 'sessionFiles'>;

/** Models that write texts, by kind. */
export interface WriterByKind {
  readonly causal: LanguageModel;
  readonly 'encoder-decoder': EncoderDecoder;
}

/**
 * Opens an exported model; its engine is ready.
 * @param companions the parts next to its graphs; called before these are read
 * @throws LinnetError as `readExport` and `assembleEngine`
 */
export async function openExport(
  files: ModelFiles,
  companions: (exported: ExportedFolder) => Promise<Companions>,
): Promise<WriterByKind[keyof WriterByKind]> {
  const exported = await readExport(files);
  const { manifest, model } = exported;
  const around = await companions(exported);
  const parts = { ...around, manifest, engine: () => assembleEngine(files.graphs(manifest), manifest, model) };
  const opened = model.kind === 'causal' ? new LanguageModel(model, parts) : new EncoderDecoder(model, parts);
  await opened.engine();
  return opened;
}
