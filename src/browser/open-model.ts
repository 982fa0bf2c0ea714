/** Opening an exported model folder by URL: fetch, verify, compile. What comes out decodes like a model in Node. */
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { assembleEngine, exportIdentity, type ExportReader, exportedModel } from '../export/assemble.ts';
import { chosenDevice, dataFileOf, encoderFileOf, type ExportManifest, exportedFiles } from '../export/manifest.ts';
import type { GeneratingModel } from '../models/model.ts';
import { type Program, programOf } from '../runtime/program.ts';
import { openWebSession, type WebDevice, type WebEngineSettings } from '../runtime/web-engine.ts';
import { huggingFaceTokenizer } from '../tokenizer/hugging-face.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import { findChatTemplate, templateFiles } from '../tokenizer/chat-template-sources.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { fetchFiles, openRemoteExport } from './remote-export.ts';
import { sha256Of } from './remote-folder.ts';
import type { WeightCache } from './weight-cache.ts';
import { webGpuSupport } from './webgpu-support.ts';

/** How far opening a model has come. */
export interface OpeningProgress {
  /** The file that is being fetched; undefined when all are there and the engine compiles. */
  readonly file: string | undefined;
  /** Bytes of all files so far. */
  readonly done: number;
  /** Bytes of all files. */
  readonly total: number;
  /** How many of `done` came out of the cache. */
  readonly cached: number;
}

export interface OpenModelOptions extends Partial<WebEngineSettings> {
  /** Default: the one that the model was exported for; `wasm` for those made for `cpu`. */
  readonly device?: WebDevice;
  /** Called as files arrive and graphs are compiled. */
  readonly onProgress?: (progress: OpeningProgress) => void;
  /** Told what linnet.json says, before anything else is fetched. */
  readonly onManifest?: (manifest: ExportManifest) => void;
  /** Stops opening, with an error `ABORTED`: while files are fetched at once, else when the graph at hand is compiled. */
  readonly signal?: AbortSignal;
  /** Where downloaded files are kept. Default: nowhere, though the browser's HTTP cache may still know them. */
  readonly cache?: WeightCache;
  /** For requests with credentials, or none at all. Default: the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** An exported model that decodes in a browser. `dispose` of it. */
export interface WebModel extends AsyncDisposable {
  readonly model: GeneratingModel;
  /** For `generate`, and for states: `engine.newState()`. */
  readonly engine: StepEngine;
  /** @throws LinnetError `NOT_FOUND` if the folder has no tokenizer.json */
  readonly tokenizer: Tokenizer;
  readonly manifest: ExportManifest;
  /** Frees the engine's memory. */
  dispose(): Promise<void>;
}

/** What an exported folder behind a URL holds, with an engine that decodes. */
export interface RemoteModel {
  readonly model: GeneratingModel;
  readonly engine: StepEngine;
  readonly manifest: ExportManifest;
  readonly url: URL;
  /** As in Node, SHA-256 of what the files are. */
  readonly fingerprint: string;
  readonly tokenizer: Tokenizer | undefined;
  readonly template: ChatTemplate | undefined;
}

const tokenizerFile = 'tokenizer.json';
const tokenizerConfigFile = 'tokenizer_config.json';

/**
 * Opens an exported model folder.
 *
 * @param url of the folder, absolute or relative to the page
 * @throws LinnetError `INPUT` if it is not an http(s) URL, `NOT_FOUND` if a file cannot be fetched, `FORMAT` if a file is
 *   malformed, has not the size and SHA-256 that linnet.json says, or is not the graph that the configuration asks for,
 *   `CONFIG` if the model or an option is not supported, `MISMATCH` for a device that the export was not made for,
 *   `RUNTIME` if the engine fails, `ABORTED`
 * @example
 * ```ts
 * const { engine, tokenizer } = await openModel('/model/', { cache: new CacheStorageWeights() });
 * ```
 */
export async function openModel(url: string | URL, options: OpenModelOptions = {}): Promise<WebModel> {
  return new OpenWebModel(await openRemoteModel(url, options));
}

/** `openModel`, with all that the folder holds. @throws LinnetError as `openModel` */
export async function openRemoteModel(url: string | URL, options: OpenModelOptions = {}): Promise<RemoteModel> {
  const { threads, engineFiles, onProgress, signal, cache, fetch } = options;
  const { folder, manifest, label, counted } = await openRemoteExport(url, { signal, cache, fetch, onProgress });
  const chosen = chosenDevice(manifest, options.device, folder.url.href);
  const device: WebDevice = chosen === 'cpu' ? 'wasm' : chosen;
  options.onManifest?.(manifest);
  if (device === 'webgpu' && manifest.dtype === 'f16') await requireHalfPrecision();

  const fetched = await fetchFiles({ folder, manifest, label, counted }, wantedFiles(manifest));

  const nameOf = (name: string): string => new URL(name, folder.url).href;
  const taken = (name: string): JsonObject | undefined => {
    const bytes = fetched.get(name);
    return bytes === undefined ? undefined : parseJsonObject(bytes, nameOf(name));
  };
  const config = taken(exportedFiles.config) ?? {};
  const model = exportedModel(config, manifest, label);
  const tokenizer = openTokenizer(taken(tokenizerFile), taken(tokenizerConfigFile), config, folder.url);
  const reader: ExportReader = {
    nameOf,
    /** Lets go of the bytes of a graph, which the engine has copied; not of an encoder's, which is opened when a text is read. */
    async openGraph(file, role, check) {
      const isEncoder = role === 'encoder';
      if (!isEncoder) {
        if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped before ${file} was compiled`);
        onProgress?.({ file: undefined, ...counted });
      }
      const program = await openProgram(file, isEncoder ? new Map(fetched) : fetched, { device, threads, engineFiles });
      try {
        check(program.inputs, program.outputs);
      } catch (error) {
        await program.dispose();
        throw error;
      }
      return program;
    },
  };
  const files = { read: (name: string) => Promise.resolve(fetched.get(name)), nameOf };
  const template = tokenizer && (await findChatTemplate(files, tokenizer));
  const fingerprint = await sha256Of(new TextEncoder().encode(exportIdentity(manifest)));
  const engine = await assembleEngine(reader, manifest, model);
  return { model, engine, manifest, url: folder.url, fingerprint, tokenizer, template };
}

class OpenWebModel implements WebModel {
  readonly model: GeneratingModel;
  readonly engine: StepEngine;
  readonly manifest: ExportManifest;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #url: URL;

  constructor({ model, engine, manifest, tokenizer, url }: RemoteModel) {
    this.model = model;
    this.engine = engine;
    this.manifest = manifest;
    this.#tokenizer = tokenizer;
    this.#url = url;
  }

  get tokenizer(): Tokenizer {
    if (this.#tokenizer !== undefined) return this.#tokenizer;
    throw new LinnetError('NOT_FOUND', `${this.#url.href} has no ${tokenizerFile}; work with token ids instead`);
  }

  dispose(): Promise<void> {
    return this.engine.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** The files that decoding needs, small ones first so that a broken folder is found out early. */
function wantedFiles({ files, folds, prompt, encoder }: ExportManifest): string[] {
  const steps = prompt === undefined ? [exportedFiles.model] : [exportedFiles.model, exportedFiles.prompt];
  const encoders = (encoder?.lengths ?? []).map(encoderFileOf);
  const graphs = [...new Set([...steps, ...Object.values(folds), ...encoders])];
  const optional = [tokenizerFile, ...templateFiles].filter((name) => Object.hasOwn(files, name));
  const data = graphs.map(dataFileOf).filter((name) => Object.hasOwn(files, name));
  const wanted = new Set([exportedFiles.config, ...optional, ...graphs, ...data]);
  return [...wanted].sort((a, b) => files[a].bytes - files[b].bytes);
}

/** Takes a graph and its weights out of `fetched`, so that nothing holds them once the engine has its copy. */
async function openProgram(
  file: string,
  fetched: Map<string, Uint8Array<ArrayBuffer>>,
  settings: WebEngineSettings,
): Promise<Program> {
  const bytes = fetched.get(file);
  if (bytes === undefined) throw new LinnetError('FORMAT', `${EXPORT_FILE} gives ${file} two purposes`);
  const started = performance.now();
  const weights = [...fetched].filter(([name]) => name === dataFileOf(file));
  const external = weights.map(([path, data]) => ({ path, offset: 0, data }));
  for (const name of [file, ...weights.map(([path]) => path)]) fetched.delete(name);
  const modelBytes = external.reduce((sum, { data }) => sum + data.byteLength, bytes.byteLength);
  const session = await openWebSession({ name: file, bytes, external }, settings);
  return programOf(file, session, { nodes: undefined, modelBytes, creationMs: performance.now() - started });
}

/** The tokenizer of a folder by its files; undefined where it has none. */
export function openTokenizer(
  tokenizerJson: JsonObject | undefined,
  tokenizerConfigJson: JsonObject | undefined,
  modelConfigJson: JsonObject,
  url: URL,
): Tokenizer | undefined {
  if (tokenizerJson === undefined) return undefined;
  const origin = new URL(tokenizerFile, url).href;
  return huggingFaceTokenizer({ tokenizerJson, tokenizerConfigJson, modelConfigJson, origin });
}

async function requireHalfPrecision(): Promise<void> {
  const { available, float16 } = await webGpuSupport();
  if (!available || float16) return; // without WebGPU at all, opening the session says so
  throw new LinnetError('CONFIG', 'the weights are float16, which this GPU does not compute with; export float32');
}
