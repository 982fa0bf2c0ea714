/** Where the model that comes with the page can compute in this browser. */
import { webGpuSupport } from '../../src/browser/web-gpu.ts';
import type { WebDevice } from '../../src/web.ts';

/** Folders of that model next to the page. */
export const shippedFolders: Readonly<Record<WebDevice, string>> = { wasm: 'model/', webgpu: 'model-webgpu/' };

export const deviceNames: Readonly<Record<WebDevice, string>> = { wasm: 'WebAssembly', webgpu: 'WebGPU' };

/** Address of the model for a device. */
export function shippedModel(device: WebDevice): string {
  return new URL(shippedFolders[device], location.href.replace(/[?#].*$/, '')).href;
}

/** Whether the browser has WebGPU, and a GPU that it lets pages use. */
export async function hasWebGpu(): Promise<boolean> {
  const { available } = await webGpuSupport().catch(() => ({ available: false }));
  return available;
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
