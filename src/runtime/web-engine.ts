/**
 * Browser engines: ONNX Runtime as WebAssembly, on the CPU (`wasm`) or through WebGPU. Each loads when its first session
 * opens: a page that uses one does not download the other.
 */
import { LinnetError, reasonOf } from '../errors.ts';
import { requireCount } from '../files/arguments.ts';
import { type EngineApi, openSessionOf } from './session.ts';
import type { DescribedSession, EngineModel } from './session-types.ts';

/** Where a browser can compute. */
export type WebDevice = 'wasm' | 'webgpu';

/** How a page's sessions run. */
export interface WebEngineSettings {
  readonly device: WebDevice;
  /**
   * Threads per `wasm` op; more than one requires a cross-origin-isolated page. Default: half the cores, at most four. One
   * pool serves all sessions: the first one's settings count.
   */
  readonly threads?: number;
  /**
   * URL of a folder with ONNX Runtime's files `ort-wasm-simd-threaded.*`, for pages whose bundler does not know `new URL(…,
   * import.meta.url)`. Default: where the bundler put them. The first session's settings count.
   */
  readonly engineFiles?: string;
}

interface WebEngine {
  readonly provider: string;
  readonly load: () => Promise<EngineApi>;
  /** Where the bundler put the engine's two files. */
  readonly files: () => { readonly mjs: string; readonly wasm: string };
}

/**
 * Threads start from the engine's script. The package's entries contain a copy, but a bundler may give that copy's chunk
 * imports of the page's own script, which then runs in every thread and breaks it. So the script is loaded as a separate
 * file.
 */
const engines: Readonly<Record<WebDevice, WebEngine>> = {
  wasm: {
    provider: 'wasm',
    load: () => import('onnxruntime-web/wasm'),
    files: () => ({
      mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.mjs', import.meta.url).href,
      wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.wasm', import.meta.url).href,
    }),
  },
  webgpu: {
    provider: 'webgpu',
    load: () => import('onnxruntime-web/webgpu'),
    files: () => ({
      mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs', import.meta.url).href,
      wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url).href,
    }),
  },
};

/** Browsers' and the engine's wording when one of its files is missing. */
const missingFile = /dynamically imported module|module script|fetching of the wasm/;

/**
 * Opens a session in this page or worker.
 *
 * @throws LinnetError `CONFIG` if a setting is invalid, `RUNTIME` if the engine cannot be loaded, the browser lacks the
 *   device, or the engine refuses the model.
 */
export function openWebSession(model: EngineModel, settings: WebEngineSettings): Promise<DescribedSession> {
  const { device, threads, engineFiles } = settings;
  if (!Object.hasOwn(engines, device)) {
    throw new LinnetError('CONFIG', `unknown device "${device}"; browsers have wasm and webgpu`);
  }
  if (threads !== undefined) requireCount(threads, 'threads', 1, 'CONFIG');
  const { provider, load, files } = engines[device];
  const configured = async (): Promise<EngineApi> => {
    const api = await load();
    if (threads !== undefined) api.env.wasm.numThreads = threads;
    // Once started, the engine does not look at this again.
    api.env.wasm.wasmPaths = engineFiles ?? files();
    return api;
  };
  return openSessionOf({ provider, load: configured }, model, { device }).catch((error: unknown) => {
    if (!missingFile.test(reasonOf(error))) throw error;
    const advice = "give their folder as engineFiles, or exclude linnet from the bundler's dependency optimization";
    const message = `the engine's files are not at ${engineFiles ?? files().mjs}: ${advice} (docs/browsers.md)`;
    throw new LinnetError('RUNTIME', message, { cause: error });
  });
}
