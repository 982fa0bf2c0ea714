/** The source that the argument of `open` names: a folder, a model of the hub, or a URL. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultModelFolder, type FetchProgress, hubSource, type ModelSource } from '../checkpoint/hub/hub.ts';
import { LinnetError } from '../errors.ts';
import { quoteName } from '../files/name-list.ts';
import { downloadExport } from './export-download.ts';
import { requireText } from '../files/arguments.ts';
import { placeOfModel } from './model-names.ts';

/** How a model that is not on the disk gets there. */
export interface DownloadOptions {
  /** Where models of the hub come from. Default: huggingface.co, without a token. */
  readonly hub?: ModelSource;
  /** Branch, tag or commit of a model of the hub. Default "main". */
  readonly revision?: string;
  /** Told how far a download is. Without it, a line on the standard error names the file fetched, and its destination. */
  readonly onProgress?: (progress: FetchProgress) => void;
  /** Stops a download, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
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
  const folder = defaultModelFolder(id);
  if (onProgress === undefined) process.stderr.write(`linnet: fetching ${id} from the hub to ${folder}\n`);
  await hub.fetchFolder(id, revision, folder, { onProgress, signal });
  return folder;
}
