/** The source that the argument of `open` names: a folder, a model of the hub, or a URL. */
import { writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import {
  defaultModelFolder,
  type FetchPlan,
  hubSource,
  type ModelSource,
  type TransferOptions,
} from '../checkpoint/hub/hub.ts';
import { ifFound, LinnetError } from '../errors.ts';
import { readManifest } from '../export/assemble.ts';
import { maximumManifestBytes } from '../export/manifest.ts';
import { requireText } from '../files/arguments.ts';
import { sha256 } from '../files/digest.ts';
import { checkPlainFileName, quoteName } from '../files/name-list.ts';
import { readInFolder } from '../files/regular-file.ts';
import { writeFolderAtomic } from '../files/written-folder.ts';
import { type HubPlace, hubPlace, includedFiles, keptModel, placeOfModel } from './model-names.ts';
import { RemoteFolder } from './remote-folder.ts';

/** How to fetch a model that is not on disk. */
export interface DownloadOptions extends TransferOptions {
  /** Where models of the hub come from. Default: huggingface.co, without a token. */
  readonly hub?: ModelSource;
  /** Branch, tag or commit to ask the hub for. Default: the name's, else the downloaded one or "main". */
  readonly revision?: string;
}

/**
 * The folder of a model, after a download if need be.
 *
 * @param given a name as `placeOfModel`, or a URL: `file:`, of a page of huggingface.co, or of an exported folder
 * @throws LinnetError `NOT_FOUND` if nothing has that name, `INPUT` for a name that is neither, and as
 *   `ModelSource.fetchFolder` and `downloadExport`
 */
export async function folderOfModel(given: string | URL, options: DownloadOptions = {}): Promise<string> {
  if (!(given instanceof URL)) requireText(given, 'what to open');
  const text = String(given);
  if (/^file:/i.test(text)) return fileURLToPath(text);
  const isAddress = /^https?:/i.test(text);
  if (isAddress && hubPlace(text) === undefined) return downloadExport(text, options);
  if (!isAddress && (given instanceof URL || text === '')) {
    throw new LinnetError(
      'INPUT',
      `${quoteName(text)} does not name a model; expected a folder, owner/name or an http(s) URL`,
    );
  }
  const place = await placeOfModel(text);
  return 'path' in place ? resolve(place.path) : fetchFromHub(place, options);
}

async function fetchFromHub(place: HubPlace, options: DownloadOptions): Promise<string> {
  const { id, file } = place;
  const { hub = hubSource(), revision = place.revision, onProgress, signal } = options;
  const { onPlan = onProgress === undefined ? sayPlan : undefined } = options;
  const kept = options.revision === undefined ? await keptModel(place) : undefined;
  if (kept !== undefined) return kept;
  const folder = defaultModelFolder(id, file);
  try {
    await hub.fetchFolder(id, revision, folder, { include: includedFiles(place), onPlan, onProgress, signal });
  } catch (error) {
    if (!(error instanceof LinnetError) || !['NOT_FOUND', 'INPUT'].includes(error.code)) throw error;
    throw new LinnetError(error.code, `there is no folder ${resolve(id)}, and ${error.message}`, { cause: error });
  }
  return folder;
}

function sayPlan({ from, folder, files, bytes }: FetchPlan): void {
  process.stderr.write(`linnet: fetching ${from} (${files} files, ${(bytes / 2 ** 20).toFixed(1)} MiB) to ${folder}\n`);
}

/** How an exported folder is downloaded. */
export interface ExportDownloadOptions extends TransferOptions {
  /** Place to keep it. Default: a folder in `~/.cache/linnet` named after the URL. */
  readonly folder?: string;
  /** Default: the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/**
 * The folder that holds an export of a URL: downloaded, unless the one that is kept has the same linnet.json. Each file is
 * held in memory until it is verified.
 * @throws LinnetError `NOT_FOUND` if a file cannot be fetched, `FORMAT` if it is not the one that linnet.json names,
 *   `ABORTED`, and as `writeFolderAtomic`
 */
export async function downloadExport(url: string, options: ExportDownloadOptions = {}): Promise<string> {
  const { onPlan, onProgress, signal, fetch } = options;
  let size = 0;
  let received = 0;
  const remote = new RemoteFolder(url, undefined, { signal, fetch });
  const { href } = remote.url;
  const name = sha256(href).slice(0, 32);
  const folder = options.folder ?? join(homedir(), '.cache/linnet', `url--${name}`);
  const description = await remote.smallFile(EXPORT_FILE, maximumManifestBytes);
  if (await holds(folder, description)) return folder;
  const { files } = readManifest(description, new URL(EXPORT_FILE, href).href);
  for (const { bytes } of Object.values(files)) size += bytes;
  onPlan?.({ from: href, folder, files: Object.keys(files).length, bytes: size });
  await writeFolderAtomic(
    folder,
    async (temporary) => {
      for (const [file, expected] of Object.entries(files)) {
        const bytes = await remote.file(checkPlainFileName(file, href), expected);
        await writeFile(join(temporary, file), bytes, { flag: 'wx' });
        received += bytes.byteLength;
        onProgress?.({ file, fileReceived: expected.bytes, fileSize: expected.bytes, received, size });
      }
      await writeFile(join(temporary, EXPORT_FILE), description, { flag: 'wx' });
    },
    { replace: true },
  );
  return folder;
}

/** Whether a folder was downloaded before, as this linnet.json describes it; opening checks the files themselves. */
async function holds(folder: string, description: Uint8Array): Promise<boolean> {
  const held = await ifFound(readInFolder(folder, EXPORT_FILE, maximumManifestBytes));
  return held?.equals(description) === true;
}
