/**
 * A web page at `/`: files of the build, held in memory, with headers that let the page load and call nothing but this
 * server. Any client may read them; the page's requests to the API need the key.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { LinnetError } from '../../errors.ts';
import type { Env, Hono } from 'hono';

interface PageFile {
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Undefined where compression gains nothing. */
  readonly compressed: Uint8Array<ArrayBuffer> | undefined;
  readonly etag: string;
  readonly caching: string;
}

/** Files by path; `/` is the page itself. */
export type PageFiles = ReadonlyMap<string, PageFile>;

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

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

const compress = promisify(gzip);

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
  /** Where it may be. Default: where the build puts it. */
  readonly folders?: readonly string[];
}

/**
 * Reads a page.
 * @returns undefined where it has not been built
 * @throws LinnetError `FORMAT` for a file that is not a part of a page
 */
export async function readPage({
  name = 'chat',
  folders = pageFolders(name),
}: PageChoice = {}): Promise<PageFiles | undefined> {
  for (const folder of folders) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    const paths = entries.filter((entry) => entry.isFile()).map(({ parentPath, name: file }) => join(parentPath, file));
    const files = await Promise.all(
      paths.map(async (path) => {
        const address = `/${path.slice(join(folder, sep).length).split(sep).join('/')}`;
        return [address === '/index.html' ? '/' : address, await readPageFile(path)] as const;
      }),
    );
    const page = new Map(files);
    if (page.has('/')) return page;
  }
  return undefined;
}

async function readPageFile(path: string): Promise<PageFile> {
  const type = types[extname(path)];
  if (type === undefined) throw new LinnetError('FORMAT', `${path} is not a file of a web page; build it again`);
  const bytes = new Uint8Array(await readFile(path));
  const compressed = new Uint8Array(await compress(bytes, { level: constants.Z_BEST_COMPRESSION }));
  return {
    type,
    bytes,
    compressed: compressed.length < bytes.length ? compressed : undefined,
    etag: `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`,
    // The build puts a hash of the content into the name of every file except the page itself.
    caching: extname(path) === '.html' ? 'no-cache' : 'public, max-age=31536000, immutable',
  };
}

export function addPage<E extends Env>(app: Hono<E>, page: PageFiles): void {
  for (const [path, { type, bytes, compressed, etag, caching }] of page) {
    app.get(path, (c) => {
      const common = { ...pageHeaders, etag, 'cache-control': caching, vary: 'accept-encoding' };
      if (c.req.header('if-none-match') === etag) return new Response(null, { status: 304, headers: common });
      const accepted = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/i.test(c.req.header('accept-encoding') ?? '');
      const zipped = accepted ? compressed : undefined;
      return new Response(zipped ?? bytes, {
        headers: { ...common, 'content-type': type, ...(zipped !== undefined && { 'content-encoding': 'gzip' }) },
      });
    });
  }
}
