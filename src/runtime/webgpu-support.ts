/** GPU support of a browser. */

/** The part of WebGPU in use. */
interface GpuApi {
  requestAdapter(): Promise<{ readonly features: { has(name: string): boolean } } | null>;
}
declare const navigator: { readonly gpu?: GpuApi } | undefined;

/**
 * Whether this browser, on this machine, computes on a GPU; `float16` models also need its feature "shader-f16".
 * @example
 * ```ts
 * const { available, float16 } = await webGpuSupport();
 * ```
 */
export async function webGpuSupport(): Promise<{ readonly available: boolean; readonly float16: boolean }> {
  const gpu = typeof navigator === 'undefined' ? undefined : navigator.gpu;
  const adapter = (await gpu?.requestAdapter()) ?? null;
  return { available: adapter !== null, float16: adapter?.features.has('shader-f16') ?? false };
}
