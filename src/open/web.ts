/** Exported models and GGUF files behind a URL, for browsers: files are fetched, verified and compiled. */
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { GENERATION_FILE, generationConfigOf } from '../checkpoint/generation-config.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { assembleMtp } from '../export/assemble.ts';
import { chosenDevice, dataFileOf, encoderFileOf, type ExportManifest, exportedFiles } from '../export/manifest.ts';
import { type Program, programOf } from '../runtime/program.ts';
import { openWebSession, type WebDevice, type WebEngineSettings } from '../runtime/web-engine.ts';
import { webGpuSupport } from '../runtime/webgpu-support.ts';
import { findChatTemplate, templateFiles } from '../tokenizer/chat-template-sources.ts';
import { huggingFaceTokenizer } from '../tokenizer/hugging-face.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { LanguageModel } from './language-model.ts';
import type { WebOpenOptions } from './fetch-options.ts';
import { type ModelFiles, openExport, readIfPresent, readJson, type WriterByKind } from './model-files.ts';
import { requireOpenedKind } from './opened-model.ts';
import { httpUrl, RemoteFolder } from './remote-folder.ts';
import { webSessionFiles } from './session-folder.ts';

/** The URL of a GGUF file; undefined for others. */
function packedUrl(url: string | URL): URL | undefined {
  const whole = httpUrl(String(url), pageUrl());
  return whole?.pathname.endsWith('.gguf') === true ? whole : undefined;
}

declare const location: { readonly href: string } | undefined;

/** The URL of the page, or of the script of a worker, which relative ones are relative to. */
function pageUrl(): string | undefined {
  return typeof location === 'undefined' ? undefined : location.href;
}

/** Small, optional files of an export. */
const companionFiles = ['tokenizer.json', GENERATION_FILE, ...templateFiles];

/**
 * The files of an exported folder behind a URL.
 * @param wanted the files to fetch from linnet.json's list
 * @throws LinnetError `INPUT` if it is not an http(s) URL
 */
export function urlFiles(
  url: string | URL,
  options: WebOpenOptions,
  wanted: (manifest: ExportManifest) => string[] = decodingFiles,
): ModelFiles {
  const { onProgress, signal, cache, fetch } = options;
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
  const origin = folder.url.href;
  const nameOf = (file: string): string => new URL(file, folder.url).href;
  const fetched = new Map<string, Uint8Array<ArrayBuffer>>();
  let device: WebDevice = 'wasm';
  return {
    origin,
    nameOf,
    async read(file, most) {
      if (file === EXPORT_FILE) return folder.smallFile(file, most);
      const bytes = fetched.get(file);
      if (bytes !== undefined) return bytes;
      throw new LinnetError('NOT_FOUND', `${origin} has no ${file}`);
    },
    async check(manifest) {
      const chosen = chosenDevice(manifest, options.device, origin);
      device = chosen === 'cpu' ? 'wasm' : chosen;
      if (device === 'webgpu' && manifest.dtype === 'f16') await requireHalfPrecision();
      // Small files first, to detect a broken folder early.
      const names = wanted(manifest).sort((a, b) => manifest.files[a].bytes - manifest.files[b].bytes);
      counted.total = names.reduce((sum, name) => sum + manifest.files[name].bytes, 0);
      for (const name of names) fetched.set(name, await folder.file(name, manifest.files[name]));
    },
    graphs: () => ({
      nameOf,
      /** Releases a graph's bytes, which the engine has copied; keeps an encoder's, which is opened when a text is read. */
      async openGraph(file, role, check) {
        const isEncoder = role === 'encoder';
        if (!isEncoder) {
          if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped before ${file} was compiled`);
          onProgress?.({ file: undefined, ...counted });
        }
        const program = await openProgram(file, isEncoder ? new Map(fetched) : fetched, { ...options, device });
        try {
          check(program.inputs, program.outputs);
        } catch (error) {
          await program.dispose();
          throw error;
        }
        return program;
      },
    }),
  };
}

/** The files that decoding needs. */
function decodingFiles({ files, folds, prompt, encoder }: ExportManifest): string[] {
  const steps = prompt === undefined ? [exportedFiles.model] : [exportedFiles.model, exportedFiles.prompt];
  return filesOfGraphs(files, [...steps, ...Object.values(folds), ...(encoder?.lengths ?? []).map(encoderFileOf)]);
}

/** The files of the layer of multi-token prediction, whose weights lie with the step graph's. */
function mtpFiles({ files }: ExportManifest): string[] {
  return [exportedFiles.mtp, dataFileOf(exportedFiles.model)].filter((name) => Object.hasOwn(files, name));
}

/** Graphs with their weights, configuration, tokenizer and chat template, as far as linnet.json lists them. */
export function filesOfGraphs(files: ExportManifest['files'], graphs: readonly string[]): string[] {
  const optional = [...companionFiles, ...graphs.map(dataFileOf)].filter((name) => Object.hasOwn(files, name));
  return [...new Set([exportedFiles.config, ...graphs, ...optional])];
}

/** Takes a graph and its weights out of `fetched`, so that nothing holds them once the engine has its copy. */
async function openProgram(
  file: string,
  fetched: Map<string, Uint8Array<ArrayBuffer>>,
  settings: WebEngineSettings,
): Promise<Program> {
  const bytes = fetched.get(file);
  if (bytes === undefined) throw new LinnetError('FORMAT', `${EXPORT_FILE} uses ${file} twice; export again`);
  const started = performance.now();
  const dataFile = dataFileOf(file === exportedFiles.mtp ? exportedFiles.model : file);
  const weights = [...fetched].filter(([name]) => name === dataFile);
  const external = weights.map(([path, data]) => ({ path, offset: 0, data }));
  for (const name of [file, ...weights.map(([path]) => path)]) fetched.delete(name);
  const modelBytes = external.reduce((sum, { data }) => sum + data.byteLength, bytes.byteLength);
  const session = await openWebSession({ name: file, bytes, external }, settings);
  return programOf(file, session, { nodes: undefined, modelBytes, creationMs: performance.now() - started });
}

/** A folder's tokenizer, if any. */
export async function webTokenizer(files: ModelFiles): Promise<Tokenizer | undefined> {
  const tokenizerJson = await readJson(files, 'tokenizer.json');
  if (tokenizerJson === undefined) return undefined;
  return huggingFaceTokenizer({
    tokenizerJson,
    tokenizerConfigJson: await readJson(files, 'tokenizer_config.json'),
    modelConfigJson: await readJson(files, exportedFiles.config),
    origin: files.nameOf('tokenizer.json'),
  });
}

async function requireHalfPrecision(): Promise<void> {
  const { available, float16 } = await webGpuSupport();
  if (!available || float16) return; // without WebGPU at all, opening the session says so
  throw new LinnetError('CONFIG', 'the weights are float16, which this GPU does not support; export float32');
}

/**
 * Opens an exported model folder, or a GGUF file (`….gguf`), behind a URL. A GGUF file is read in parts when its engine is made, which the
 * server must allow (HTTP ranges); it is neither verified nor cached. Its result has the same names and does the same as in Node; sessions are
 * saved by name in the origin's private file system: `savedSessions` lists them.
 *
 * @param url the folder or file, absolute or relative to the page
 * @throws LinnetError `INPUT` if it is not an http(s) URL, `NOT_FOUND` if a file cannot be fetched, `FORMAT` if a file is
 *   malformed, has not the size and SHA-256 that linnet.json says, or is not the graph that the configuration asks for,
 *   `CONFIG` if the model or an option is not supported, `MISMATCH` for a device that the export was not made for,
 *   `RUNTIME` if the engine fails, `ABORTED`
 * @example
 * ```ts
 * await using model = await open('/model/', { cache: new CacheStorageWeights() });
 * for await (const text of model.generate('Once upon a time')) document.body.append(text);
 * ```
 */
export function openUrl(
  url: string | URL,
  options?: WebOpenOptions & { readonly kind?: undefined },
): Promise<LanguageModel>;
export function openUrl<Kind extends keyof WriterByKind>(
  url: string | URL,
  options: WebOpenOptions & { readonly kind: Kind | readonly Kind[] },
): Promise<WriterByKind[Kind]>;
export async function openUrl(
  url: string | URL,
  options: WebOpenOptions & { readonly kind?: keyof WriterByKind | readonly (keyof WriterByKind)[] } = {},
): Promise<WriterByKind[keyof WriterByKind]> {
  const { kind = 'causal', ...others } = options;
  const kinds = typeof kind === 'string' ? [kind] : kind;
  const packed = packedUrl(url);
  // Apart, since it brings the graph compiler along.
  if (packed !== undefined) {
    const opened = await (await import('./web-gguf.ts')).openGgufUrl(packed, others);
    requireOpenedKind(opened.description, opened.origin, kinds);
    return opened;
  }
  const files = urlFiles(url, others);
  return openExport(files, async ({ path: origin, manifest, model, fingerprint }) => {
    requireOpenedKind(model, origin, kinds);
    const generation = await readIfPresent(files, GENERATION_FILE);
    const { sampling: defaults } = generationConfigOf(generation, files.nameOf(GENERATION_FILE));
    const tokenizer = await webTokenizer(files);
    const sources = { read: (file: string) => readIfPresent(files, file), nameOf: files.nameOf };
    const template = tokenizer && (await findChatTemplate(sources, tokenizer));
    const drafting = async (): Promise<StepEngine> => {
      const own = urlFiles(url, others, mtpFiles);
      await own.check(manifest);
      return assembleMtp(own.graphs(manifest), manifest, model);
    };
    const mtp = manifest.mtp && drafting;
    return { origin, fingerprint, defaults, tokenizer, template, sessionFiles: webSessionFiles(fingerprint), mtp };
  });
}
