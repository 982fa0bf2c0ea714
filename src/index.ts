/**
 * The library, for Node: the pieces that the commands are made of. Everything here is stable; what a folder exports
 * beyond this may change.
 */
export { type ErrorCode, LinnetError } from './errors.ts';
export { Random, type RandomState } from './random.ts';

// Computations and how they run.
export { type DType, float32, int32, type Tensor, tensor } from './graph/tensor.ts';
export { gradients } from './graph/gradients.ts';
export { Graph, type Value } from './graph/graph.ts';
export { lowerGraph } from './graph/onnx/lowering.ts';
export * as ops from './graph/ops/index.ts';
export { writeOnnxModel } from './checkpoint/onnx-model.ts';
export { compile, type CompileOptions, type Device, type Program, type ProgramStatistics } from './runtime/compile.ts';
export { isDeviceAvailable } from './runtime/availability.ts';

// Mixers: the formula, its configuration, its state.
export {
  describeMixer,
  type FeaturesMixer,
  isCausal,
  type LinearMixer,
  type LinformerMixer,
  type MixerConfig,
  type MixerInput,
  type MixerPreset,
  mixerPreset,
  mixerPresetNames,
  mixerSchema,
  parseMixer,
  type PresetOptions,
  type SoftmaxMixer,
  type YosoMixer,
} from './attention/mixer.ts';
export { type AttentionDims, keyValueCacheBytes, stateBytes } from './attention/state.ts';
export { exactRule, type TreeRule } from './attention/masks.ts';
export { chain, type RankTree, TokenTree, treeFromPaths } from './attention/tree.ts';

// Models and their files.
export type { CausalModel, ModelSizes } from './models/model.ts';
export { describeModel, supportedFamilies } from './models/families.ts';
export { gpt2Shape, gpt2ShapeNames } from './models/gpt2/shapes.ts';
export { classLogits, lastTokenRows, scoreParameters } from './models/classification.ts';
export {
  type FlashConfig,
  type FlashConfigInput,
  paperFlashConfig,
  parseFlashConfig,
} from './models/flash/config.ts';
export { flashLogits, flashParameters, initializeFlash } from './models/flash/model.ts';
export { initializeParameters } from './models/initialize.ts';
export { linearize } from './models/linearize.ts';
export { parallelLogits } from './models/parallel-graph.ts';
export { InputParameters, type ParameterSource, WeightParameters } from './nn/parameters.ts';
export { type Checkpoint, openCheckpoint } from './checkpoint/huggingface.ts';
export { type LoadedModel, loadModel, saveModel } from './checkpoint/load-model.ts';
export {
  defaultModelFolder,
  type FetchOptions,
  type FetchProgress,
  type HubOptions,
  hubSource,
  type ModelSource,
} from './checkpoint/hub.ts';

// Text.
export { type EncodeOptions, loadTokenizer, type Tokenizer } from './tokenizer/tokenizer.ts';
export { huggingFaceTokenizer, type HuggingFaceTokenizerFiles } from './tokenizer/hugging-face.ts';
export { byteTokenizer, byteTokenizerFiles } from './tokenizer/bytes.ts';
export { type SpecialTokens, tokenizerFileContents, type TokenizerFiles } from './tokenizer/byte-level.ts';
export { trainBpe, type TrainBpeOptions, type TrainBpeProgress } from './tokenizer/train-bpe.ts';
export { type Document, loadDocuments, readDocuments, type ReadDocumentsOptions } from './data/documents.ts';
export { packDocuments, PackedDataset, type PackingMode, type PackingOptions } from './data/packing.ts';
export { type DocumentSplit, splitDocuments } from './data/split.ts';

// Training.
export { nextTokenLoss } from './training/objective.ts';
export { parseTrainingSettings, type TrainingInput, type TrainingSettings } from './training/settings.ts';
export type { Objective } from './training/step-program.ts';
export { train, type TrainingJob, type TrainingOutcome, type UpdateEvent } from './training/trainer.ts';

// Decoding.
export { DecodingEngine, type StepOutput, type StepRequest } from './decoding/engine.ts';
export { FlashDecoder, FlashState } from './decoding/flash-decoder.ts';
export type { SequenceState } from './decoding/state.ts';
export {
  type FinishReason,
  generate,
  type GenerateOptions,
  type Generation,
  type GenerationEvent,
  generateToEnd,
} from './decoding/generate.ts';
export {
  type Continuation,
  type DecodingMethod,
  type ReadPrompt,
  sequential,
  type StepBounds,
} from './decoding/method.ts';
export { Sampler, type SamplerConfig, type SamplerInput } from './decoding/sampler.ts';
export { type RestoredSession, restoreSession, type SavedSession, saveSession } from './decoding/session-file.ts';

// Speculation: drafters guess, one step verifies, a rule accepts.
export { speculative, type SpeculationOptions, SpeculativeDecoder } from './decoding/speculation/speculative.ts';
export type { Draft, DraftContext, Drafter } from './decoding/speculation/drafter.ts';
export { LookupDrafter, type LookupOptions } from './decoding/speculation/lookup-drafter.ts';
export { type HeadPredictions, MedusaDrafter, stockPaths } from './decoding/speculation/medusa-drafter.ts';
export { ModelDrafter, type ModelDrafterOptions } from './decoding/speculation/model-drafter.ts';
export { CombinedDrafter, type CombinedOptions } from './decoding/speculation/combined-drafter.ts';
export { ReferenceDrafter, type ReferenceOptions } from './decoding/speculation/reference-drafter.ts';
export { ObservedDrafter, type PathAcceptance, sumAcceptance } from './decoding/speculation/observed-drafter.ts';
export {
  type AcceptanceRule,
  acceptanceRules,
  exact,
  rejection,
  typical,
  type TypicalOptions,
} from './decoding/speculation/acceptance.ts';
export { type Pace, Pacing, type PacingOptions } from './decoding/speculation/pacing.ts';
export { SpeculationStatistics, type SpeculationSummary } from './decoding/speculation/statistics.ts';
export { initializeMedusa, type MedusaConfig } from './models/medusa.ts';
export { MedusaHeads } from './models/medusa-heads.ts';
export {
  hasMedusaHeads,
  loadMedusaHeads,
  type MedusaNotes,
  type MedusaTree,
  saveMedusaHeads,
  type StoredMedusa,
} from './checkpoint/medusa-files.ts';

// Measuring.
export { type CheckOptions, type CheckReport, type CheckRow, checkModel } from './evaluation/check.ts';
export {
  type EvaluateOptions,
  type EvaluatorOptions,
  perplexity,
  PerplexityEvaluator,
  type PerplexityResult,
} from './evaluation/perplexity.ts';
export {
  type EvaluationData,
  evaluationData,
  slidingWindows,
  type WindowMode,
  type WindowOptions,
} from './evaluation/scored-windows.ts';

export {
  compareRules,
  type CompareRulesOptions,
  type NamedRule,
  type RuleAgreement,
  verificationRules,
} from './evaluation/verification-rules.ts';

// Reports.
export { type BarChartDescription, barChart, lineChart, type LineChartDescription } from './report/chart.ts';
export { treeChart, type TreeChartDescription } from './report/tree-chart.ts';
export { type Block, renderReport, type Report, type Section, writeReport } from './report/html.ts';
export { openRun, readRun, type Run, type RunRecord } from './report/record.ts';
export { type Column, makeTable, markdownTable, type Table, textTable } from './report/table.ts';
