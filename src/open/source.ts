/** The source that the argument of `open` names: a folder, a model of the hub, or a URL. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  defaultModelFolder,
  type FetchPlan,
  hubSource,
  type ModelSource,
  type TransferOptions,
} from '../checkpoint/hub/hub.ts';
import { LinnetError } from '../errors.ts';
import { quoteName } from '../files/name-list.ts';
import { downloadExport } from './export-download.ts';
import { requireText } from '../files/arguments.ts';
import { keptModel, placeOfModel } from './model-names.ts';

/** How a model that is not on the disk gets there. */
export interface DownloadOptions extends TransferOptions {
  /** Where models of the hub come from. Default: huggingface.co, without a token. */
  readonly hub?: ModelSource;
  /** Branch, tag or commit of a model of the hub. Default: the downloaded one, without asking the hub, else "main". */
  readonly revision?: string;
}

/** The address of a model's page, with its revision. */
const hubPage = /^https:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/([^/?#]+\/[^/?#]+?)(?:\/tree\/([^?#]+?))?\/?$/;

/**
 * The folder of a model, after a download if need be.
 *
 * @param given a name as `placeOfModel`, or a URL: `file:`, of a page of huggingface.co, or of an exported folder
 * @throws LinnetError `NOT_FOUND` if there is nothing of that name, `INPUT` for a name that is neither, and as
 *   `ModelSource.fetchFolder` and `downloadExport`
 */
export async function folderOfModel(given: string | URL, options: DownloadOptions = {}): Promise<string> {
  if (!(given instanceof URL)) requireText(given, 'what to open');
  const text = String(given);
  if (/^file:/i.test(text)) return fileURLToPath(text);
  if (/^https?:/i.test(text)) {
    const page = hubPage.exec(text);
    if (page === null) return downloadExport(text, options);
    return fetchFromHub(page[1], { ...options, revision: options.revision ?? page[2] });
  }
  if (given instanceof URL || text === '') {
    throw new LinnetError(
      'INPUT',
      `${quoteName(text)} names no model; expected a folder, owner/name or an http(s) URL`,
    );
  }
  const place = await placeOfModel(text);
  return 'path' in place ? resolve(place.path) : fetchFromHub(place.id, options);
}

async function fetchFromHub(id: string, options: DownloadOptions): Promise<string> {
  const { hub = hubSource(), revision, onProgress, signal } = options;
  const { onPlan = onProgress === undefined ? sayPlan : undefined } = options;
  const kept = revision === undefined ? await keptModel(id) : undefined;
  if (kept !== undefined) return kept;
  const folder = defaultModelFolder(id);
  try {
    await hub.fetchFolder(id, revision, folder, { onPlan, onProgress, signal });
  } catch (error) {
    if (!(error instanceof LinnetError) || !['NOT_FOUND', 'INPUT'].includes(error.code)) throw error;
    throw new LinnetError(error.code, `there is no folder ${resolve(id)}, and ${error.message}`, { cause: error });
  }
  return folder;
}

function sayPlan({ from, folder, files, bytes }: FetchPlan): void {
  process.stderr.write(`linnet: fetching ${from} (${files} files, ${(bytes / 2 ** 20).toFixed(1)} MiB) to ${folder}\n`);
}
