/** `linnet/attention`: mixers, their configurations and presets, and the interface for new kinds (docs/mixers.md). */
export { type AttentionMask, causalAttention, fullAttention } from './attention-mask.ts';
export { addConvolution, centredConvolution } from './convolution.ts';
export { type ConvolutionConfig, convolutionField, filterParameters } from './convolution-config.ts';
export {
  type Grouping,
  earlierSums,
  groupingOf,
  groupKeys,
  groupQueries,
  laterSums,
  ungroupQueries,
} from './grouping.ts';
export { HeadLayout } from './head-layout.ts';
export type { DeltaNetMixer } from './kinds/delta-net/config.ts';
export type { FeaturesMixer } from './kinds/features/maps.ts';
export type { GatedMixer } from './kinds/gated/config.ts';
export type { GatedDeltaMixer } from './kinds/gated-delta/config.ts';
export type { GauMixer } from './kinds/gau/config.ts';
export { findMixerKind, type MixerInput, mixerKinds, registerMixer } from './kinds/index.ts';
export type { LinearMixer } from './kinds/linear/config.ts';
export type { BlockLinformerMixer, LinformerMixer } from './kinds/linformer/config.ts';
export type { Mamba2Mixer } from './kinds/mamba2/config.ts';
export type { ShortConvMixer } from './kinds/short-conv/config.ts';
export type { SoftmaxMixer } from './kinds/softmax/index.ts';
export type { WindowMixer } from './kinds/window/config.ts';
export type { YosoMixer } from './kinds/yoso/index.ts';
export type { TreeRule } from './masks.ts';
export * from './mixers.ts';
export type { ParameterInit } from './parameter-init.ts';
export {
  convolutionFrom,
  convolutionOptions,
  definePreset,
  groupOption,
  ownConvolutionOptions,
  seedOption,
} from './preset.ts';
export {
  allReadings,
  localKernelFor,
  type MixerPresetName,
  mixerPreset,
  mixerPresetNames,
  mixerPresetReading,
  type PresetOptions,
  type PresetOptionsOf,
  takenOptions,
  wholeTextPreset,
} from './presets.ts';
export {
  type FilterRead,
  type ReferenceDims,
  type ReferenceInput,
  ReferencePositions,
} from './reference.ts';
export { addScaled, dot, softmaxOf, weightedSum } from './reference.ts';
export { type Scoring, scaledScoring } from './scoring.ts';
export { ringState } from './state.ts';
export {
  addStepConvolution,
  blocksOf,
  joinBlocks,
  maskScores,
  nodeRows,
  softmaxOfBlocks,
  weightedValues,
} from './step-blocks.ts';
export { chain, type RankTree, TokenTree, treeFromPaths } from './tree.ts';
