/** A browser's GPU support. */

/** The part of WebGPU in use. */
interface GpuApi {
  requestAdapter(): Promise<GpuAdapter | null>;
}
interface GpuAdapter {
  readonly features: { has(name: string): boolean };
  readonly info?: { readonly isFallbackAdapter?: boolean; readonly architecture: string; readonly description: string };
}
declare const navigator: { readonly gpu?: GpuApi } | undefined;

/** A browser's WebGPU support. */
export interface WebGpuSupport {
  readonly available: boolean;
  /** Whether `float16` models run: the feature "shader-f16". */
  readonly float16: boolean;
  /** Whether the processor emulates the GPU; WebAssembly is then faster. */
  readonly software: boolean;
}

/**
 * Whether this browser, on this machine, computes on a GPU.
 * @example
 * ```ts
 * const { available, float16, software } = await webGpuSupport();
 * ```
 */
export async function webGpuSupport(): Promise<WebGpuSupport> {
  const gpu = typeof navigator === 'undefined' ? undefined : navigator.gpu;
  const adapter = (await gpu?.requestAdapter()) ?? null;
  const { isFallbackAdapter = false, architecture = '', description = '' } = adapter?.info ?? {};
  return {
    available: adapter !== null,
    float16: adapter?.features.has('shader-f16') ?? false,
    software: isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${architecture} ${description}`),
  };
}
