/** An exported folder on a server: its manifest, and its files, whose bytes are counted as they arrive. */
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { readManifest } from '../export/assemble.ts';
import { type ExportManifest, maximumManifestBytes } from '../export/manifest.ts';
import type { OpenModelOptions } from './open-model.ts';
import { RemoteFolder } from './remote-folder.ts';

declare const location: { readonly href: string } | undefined;

/** What relative URLs are relative to: the page, or the script of a worker. */
function pageUrl(): string | undefined {
  return typeof location === 'undefined' ? undefined : location.href;
}

/** A folder whose manifest has been read. */
export interface RemoteExport {
  readonly folder: RemoteFolder;
  readonly manifest: ExportManifest;
  /** Address of the manifest, for messages. */
  readonly label: string;
  /** Bytes of the files that are fetched, of those that have arrived, and of those that came out of the cache. */
  readonly counted: { total: number; done: number; cached: number };
}

/** @throws LinnetError as `openModel`, for the address and the manifest */
export async function openRemoteExport(
  url: string | URL,
  { cache, fetch, signal, onProgress }: Pick<OpenModelOptions, 'cache' | 'fetch' | 'signal' | 'onProgress'>,
): Promise<RemoteExport> {
  const counted = { total: 0, done: 0, cached: 0 };
  const folder = new RemoteFolder(url, pageUrl(), {
    signal,
    cache,
    fetch,
    onBytes(file, bytes, cached) {
      counted.done += bytes;
      if (cached) counted.cached += bytes;
      onProgress?.({ file, ...counted });
    },
  });
  const label = new URL(EXPORT_FILE, folder.url).href;
  const manifest = readManifest(await folder.smallFile(EXPORT_FILE, maximumManifestBytes), label);
  return { folder, manifest, label, counted };
}

/** Fetches files that the manifest names, one after the other. @throws LinnetError as `openModel`, for files */
export async function fetchFiles(
  { folder, manifest, counted }: RemoteExport,
  names: readonly string[],
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  counted.total = names.reduce((sum, name) => sum + manifest.files[name].bytes, 0);
  const fetched = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of names) fetched.set(name, await folder.file(name, manifest.files[name]));
  return fetched;
}
