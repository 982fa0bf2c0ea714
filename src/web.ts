/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The library for browsers: opens exported models by URL and decodes with them, on WebAssembly or WebGPU. Its exports have the
 * same names and behavior as Node's. Nothing this file reaches may need Node; a test enforces it.
 */

export type { FetchFilesOptions, OpeningProgress, WebOpenOptions } from './open/fetch-options.ts';
export { openUrl as open } from './open/web.ts';
export { browserWeights, FileSystemWeights } from './browser/file-system-weights.ts';
export { webGpuSupport, type WebGpuSupport } from './runtime/webgpu-support.ts';
export { CacheStorageWeights, type WeightCache } from './open/remote-folder.ts';
export type { ExportManifest } from './export/manifest.ts';
export * from './open/library.ts';
export type { PrivateFile } from './open/private-folder.ts';
export { deleteSession, keepSession, savedSession, savedSessions } from './open/session-folder.ts';
export * from './engine/library.ts';
export type { StepEngine } from './decoding/step-engine.ts';
export { type ErrorCode, LinnetError } from './errors.ts';
export type { CausalModel, EncoderDecoderModel, GeneratingModel, ModelSizes } from './models/model.ts';
export type { WebDevice } from './runtime/web-engine.ts';
