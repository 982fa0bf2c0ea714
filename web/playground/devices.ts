/** Where the model that comes with the page can compute in this browser. */
import type { WebDevice } from '../../src/web.ts';

/** Folders of that model next to the page. */
const shippedFolders: Readonly<Record<WebDevice, string>> = { wasm: 'model/', webgpu: 'model-webgpu/' };

export const deviceNames: Readonly<Record<WebDevice, string>> = { wasm: 'WebAssembly', webgpu: 'WebGPU' };

/** Address of the model for a device. */
export function shippedModel(device: WebDevice): string {
  return new URL(shippedFolders[device], location.href.replace(/[?#].*$/, '')).href;
}

/** What the address of the page asks for: `?model=URL`, `?device=webgpu`, `?threads=N`. */
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
