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
export {
  type BlockLinformerMixer,
  type DeltaNetMixer,
  type FeaturesMixer,
  findMixerKind,
  type GatedDeltaMixer,
  type GatedMixer,
  type GauMixer,
  type LinearMixer,
  type LinformerMixer,
  type MixerInput,
  mixerKinds,
  registerMixer,
  type Mamba2Mixer,
  type ShortConvMixer,
  type SoftmaxMixer,
  type WindowMixer,
  type YosoMixer,
} from './kinds/index.ts';
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
