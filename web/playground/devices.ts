/** Devices on which the page's own model can run in this browser. */
import type { WebDevice } from '../../src/web.ts';

/** Folders of the page's own model. */
const shippedFolders: Readonly<Record<WebDevice, string>> = { wasm: 'model/', webgpu: 'model-webgpu/' };

export const deviceNames: Readonly<Record<WebDevice, string>> = { wasm: 'WebAssembly', webgpu: 'WebGPU' };

/** The page's own model for a device, as an address. */
export function shippedModel(device: WebDevice): string {
  return new URL(shippedFolders[device], location.href.replace(/[?#].*$/, '')).href;
}

/**
 * Whether tabs of this page share one engine. A shared worker has no threads, so it is used only if threads bring nothing: on a GPU,
 * in pages that are not isolated, or if one thread is asked for.
 */
export function sharesEngine(): boolean {
  const { device, threads } = askedInAddress();
  const usesThreads = crossOriginIsolated && device === 'wasm' && threads !== 1;
  return typeof SharedWorker !== 'undefined' && isSecureContext && !usesThreads;
}

/** Parameters of the page's address: `?model=URL`, `?device=webgpu`, `?threads=N`. */
export function askedInAddress(): {
  readonly model: string | undefined;
  readonly device: WebDevice;
  readonly threads: number | undefined;
} {
  const asked = new URLSearchParams(location.search);
  const threads = asked.get('threads');
  const model = asked.get('model');
  return {
    model: model !== null && URL.canParse(model, location.href) ? new URL(model, location.href).href : undefined,
    device: asked.get('device') === 'webgpu' ? 'webgpu' : 'wasm',
    threads: threads === null ? undefined : Number(threads),
  };
}
