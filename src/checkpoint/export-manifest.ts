/**
 * `linnet.json`, the list of contents of an exported model folder: what the graphs compute with, and every file with its
 * size and SHA-256. Written on export, read in Node and in browsers; nothing here depends on a platform.
 *
 * ```text
 * linnet.json        this file
 * model.onnx         the step graph, and model.onnx.data beside it where the weights do not fit in
 * fold-….onnx        the fold graphs, by name in `folds`
 * config.json        the model's description, with its mixers
 * tokenizer.json …   the tokenizer
 * ```
 */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { type JsonObject, parseJsonObject } from './json-object.ts';
import { quoteName } from './name-list.ts';
import { checkPlainFileName } from './plain-file-name.ts';

export const MANIFEST_FILE = 'linnet.json';
/** Upper bound of the size of a manifest in bytes; real ones have a few KB. */
export const MANIFEST_BYTES_LIMIT = 1 << 20;

const fileSchema = z.object({
  bytes: z.int().nonnegative(),
  /** Lower-case hex. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hex digits'),
});

/** Fields that are not named here are ignored: what only informs may be added without a new version. */
export const exportManifestSchema = z.object({
  version: z.literal(1),
  /** How the weights are stored: "float32", "float16" … */
  dtype: z.string().min(1),
  /** The device that the graphs were made for; "cpu" ones run on `wasm` too. */
  device: z.string().min(1),
  /** Every other file of the folder, by name. */
  files: z.record(z.string(), fileSchema),
  /** The file of each fold graph, by the name that `foldName` gives it. */
  folds: z.record(z.string(), z.string()),
});

export type ExportManifest = z.infer<typeof exportManifestSchema>;
/** Size and checksum of a file. */
export type ExportedFile = z.infer<typeof fileSchema>;

/**
 * Parses and checks the bytes of a linnet.json.
 * @param label what error messages call it: its path or URL
 * @throws LinnetError `FORMAT` if it is malformed or names files that it does not list, `PATH` if a name is not a plain
 *   file name
 */
export function parseExportManifest(bytes: Uint8Array, label: string): ExportManifest {
  return checkExportManifest(parseJsonObject(bytes, label, { uniqueKeys: true }), label);
}

/** Checks a parsed linnet.json; errors as `parseExportManifest`. */
export function checkExportManifest(json: JsonObject, label: string): ExportManifest {
  const result = exportManifestSchema.safeParse(json);
  if (!result.success) {
    throw new LinnetError('FORMAT', `${label} does not describe an exported model:\n${z.prettifyError(result.error)}`, {
      cause: result.error,
    });
  }
  const manifest = result.data;
  for (const name of Object.keys(manifest.files)) checkPlainFileName(name, label);
  for (const [fold, name] of Object.entries(manifest.folds)) {
    if (!Object.hasOwn(manifest.files, name)) {
      throw new LinnetError('FORMAT', `${label}: the file of fold ${quoteName(fold)} is not among its files`);
    }
  }
  return manifest;
}
