/**
 * The library, for browsers: opens exported models by URL and decodes with them, on WebAssembly or WebGPU. What is here
 * has the same names and does the same as in the entry for Node. Nothing that this file reaches may need Node; a test
 * enforces it.
 */

export {
  type OpenedModel,
  type OpeningProgress,
  type OpenModelOptions,
  openModel,
  webGpuSupport,
} from './browser/open-model.ts';
export { CacheStorageWeights, type WeightCache } from './browser/weight-cache.ts';
export type { ExportManifest } from './export/manifest.ts';
export {
  type FinishReason,
  type GenerateOptions,
  type Generation,
  type GenerationEvent,
  generate,
  generateToEnd,
} from './decoding/generate.ts';
export { type DecodingMethod, sequential } from './decoding/method.ts';
export { Sampler, type SamplerConfig, type SamplerInput } from './decoding/sampler.ts';
export {
  type AcceptanceRule,
  acceptanceRules,
  exact,
  rejection,
  type TypicalOptions,
  typical,
} from './decoding/speculation/acceptance.ts';
export type { Draft, DraftContext, Drafter } from './decoding/speculation/drafter.ts';
export { LookupDrafter, type LookupOptions } from './decoding/speculation/lookup-drafter.ts';
export { Pacing, type PacingOptions } from './decoding/speculation/pacing.ts';
export { type SpeculationOptions, speculative } from './decoding/speculation/speculative.ts';
export { SpeculationStatistics, type SpeculationSummary } from './decoding/speculation/statistics.ts';
export type { SequenceState } from './decoding/state.ts';
export type { StepEngine, StepOutput, StepRequest, StepWeights } from './decoding/step-engine.ts';
export { type ErrorCode, LinnetError } from './errors.ts';
export type { CausalModel, ModelSizes } from './models/model.ts';
export type { WebDevice } from './runtime/web-engine.ts';
export type { EncodeOptions, Tokenizer } from './tokenizer/tokenizer.ts';
