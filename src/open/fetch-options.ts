/** How models are fetched and opened in a browser. */
import type { WebDevice, WebEngineSettings } from '../runtime/web-engine.ts';
import type { WeightCache } from './remote-folder.ts';

/** How far opening a model has come. */
export interface OpeningProgress {
  /** The file being fetched; undefined once all have arrived and the engine compiles. */
  readonly file: string | undefined;
  /** Bytes of all files so far. */
  readonly done: number;
  /** Bytes of all files. */
  readonly total: number;
  /** How many of `done` came out of the cache. */
  readonly cached: number;
}

/** How files are fetched. */
export interface FetchFilesOptions {
  /** Called while files arrive and graphs are compiled. */
  readonly onProgress?: (progress: OpeningProgress) => void;
  /** Stops opening, with an error `ABORTED`: while files are fetched at once, else when the graph at hand is compiled. */
  readonly signal?: AbortSignal;
  /** Where downloaded files are kept. Default: nowhere, though the browser's HTTP cache may still know them. */
  readonly cache?: WeightCache;
  /** For requests with credentials, or none at all. Default: the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** How a model is opened in a browser. */
export interface WebOpenOptions extends FetchFilesOptions, Partial<WebEngineSettings> {
  /** Default: the one that the model was exported for; `wasm` for those made for `cpu`. */
  readonly device?: WebDevice;
}
