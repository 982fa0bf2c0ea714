/** Exported folders behind a URL, kept on this machine: everything is verified before a folder appears. */
import { writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { RemoteFolder } from './remote-folder.ts';
import type { TransferOptions } from '../checkpoint/hub/hub.ts';
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { ifFound } from '../errors.ts';
import { readManifest } from '../export/assemble.ts';
import { maximumManifestBytes } from '../export/manifest.ts';
import { writeFolderAtomic } from '../files/written-folder.ts';
import { checkPlainFileName } from '../files/name-list.ts';
import { readInFolder } from '../files/regular-file.ts';
import { sha256 } from '../files/digest.ts';

/** How an exported folder is downloaded. */
export interface ExportDownloadOptions extends TransferOptions {
  /** Where it is kept. Default: a folder of `~/.cache/linnet` that is named by the URL. */
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
