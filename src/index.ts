/**
 * Linnet for Node. `open` returns a model that answers; programs around it use the rest most. Everything else is in subpaths:
 * `linnet/attention`, `linnet/checkpoint`, `linnet/data`, `linnet/decoding`, `linnet/evaluation`, `linnet/export`,
 * `linnet/graph`, `linnet/models`, `linnet/report`, `linnet/studies`, `linnet/training`.
 */
export type { MixerConfig } from './attention/mixer.ts';
export {
  type MixerPresetName,
  mixerPreset,
  mixerPresetNames,
  type PresetOptions,
  type PresetOptionsOf,
} from './attention/presets.ts';
export { type FetchProgress, type HubOptions, hubSource, type ModelSource } from './checkpoint/hub/hub.ts';
export { type LoadedModel, loadCausalModel, loadModel, saveModel } from './checkpoint/load-model.ts';
export { DecodingEngine } from './decoding/engine.ts';
export { Sampler, type SamplerInput } from './decoding/sampler.ts';
export { lookupDrafter } from './decoding/speculation/drafters/registry.ts';
export { speculative } from './decoding/speculation/speculative.ts';
export type { SequenceState } from './decoding/state/sequence-state.ts';
export { StepEngine } from './decoding/step-engine.ts';
export type { FinishReason, Generation, TextEvent } from './engine/text-job.ts';
export { type ErrorCode, LinnetError, OptionsError } from './errors.ts';
export { exportFolder } from './export/export-model.ts';
export { describeModel, type Model } from './models/families/index.ts';
export { linearize } from './models/linearization/linearize.ts';
export type { CausalModel, EncoderDecoderModel, EncoderModel } from './models/model.ts';
export { type DownloadOptions } from './open/source.ts';
export { type AnyModel, open, type OpenOptions } from './open/index.ts';
export * from './open/library.ts';
export { Random } from './random.ts';
export { loadTokenizer } from './tokenizer/tokenizer.ts';
