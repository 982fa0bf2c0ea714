/**
 * A web page at `/`: files of the build, held in memory, with headers that let the page load and call nothing but this
 * server. Any client may read them; the page's requests to the API need the key.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Env, Hono } from 'hono';
import { compress } from 'hono/compress';
import { etag } from 'hono/etag';
import { getMimeType } from 'hono/utils/mime';

/** Files by path; `/` is the page itself. */
export type PageFiles = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

/** Scripts, styles and requests of this server only, nothing inline, and no page of others around it. */
const contentSecurityPolicy = [
  "default-src 'self'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export const pageHeaders = {
  'content-security-policy': contentSecurityPolicy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
};

/**
 * Where the build puts a page: next to the built library, also for one that runs from its sources.
 * @returns folders to look in, in this order
 */
function pageFolders(name: string): string[] {
  return ['../../web', '../../../dist/web'].map((path) => fileURLToPath(new URL(`${path}/${name}/`, import.meta.url)));
}

export interface PageChoice {
  /** Folder of web/. Default `chat`. */
  readonly name?: string;
  /** Possible places. Default: the build's output. */
  readonly folders?: readonly string[];
}

/** Reads a page; undefined if it has not been built. */
export async function readPage({
  name = 'chat',
  folders = pageFolders(name),
}: PageChoice = {}): Promise<PageFiles | undefined> {
  for (const folder of folders) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    const paths = entries.filter((entry) => entry.isFile()).map(({ parentPath, name: file }) => join(parentPath, file));
    const files = paths.map(async (path) => {
      const address = `/${path.slice(join(folder, sep).length).split(sep).join('/')}`;
      return [address === '/index.html' ? '/' : address, new Uint8Array(await readFile(path))] as const;
    });
    const page = new Map(await Promise.all(files));
    if (page.has('/')) return page;
  }
  return undefined;
}

export function addPage<E extends Env>(app: Hono<E>, page: PageFiles): void {
  for (const [path, bytes] of page) {
    const headers = {
      ...pageHeaders,
      'content-type': getMimeType(path === '/' ? 'index.html' : path) ?? 'application/octet-stream',
      // The build puts a hash of the content into the name of every file except the page itself.
      'cache-control': path === '/' ? 'no-cache' : 'public, max-age=31536000, immutable',
    };
    app.get(path, compress(), etag(), (c) => c.body(bytes, 200, headers));
  }
}
