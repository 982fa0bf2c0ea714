/**
 * The library, for Node: the pieces that the commands are made of. Everything here is stable; what a folder exports
 * beyond this may change.
 */

export { exactRule, type TreeRule } from './attention/masks.ts';
// Mixers: the formula, its configuration, its state.
export {
  type FeaturesMixer,
  type LinearMixer,
  type LinformerMixer,
  type MixerInput,
  registerMixer,
  type SoftmaxMixer,
  type WindowMixer,
  type YosoMixer,
} from './attention/kinds/index.ts';
export type { AttentionDims, MixerConfig, MixerKind } from './attention/mixer.ts';
export { describeMixer, isCausal, mixerSchema, parseMixer, stateBytes } from './attention/mixers.ts';
export { type MixerPresetName, mixerPreset, mixerPresetNames, type PresetOptions } from './attention/presets.ts';
export { keyValueCacheBytes } from './attention/state.ts';
export { chain, type RankTree, TokenTree, treeFromPaths } from './attention/tree.ts';
export {
  defaultModelFolder,
  type FetchOptions,
  type FetchProgress,
  type HubOptions,
  hubSource,
  type ModelSource,
} from './checkpoint/hub/hub.ts';
export { type Checkpoint, openCheckpoint } from './checkpoint/huggingface.ts';
export { type LoadedModel, loadCausalModel, loadModel, saveModel } from './checkpoint/load-model.ts';
export {
  hasMedusaHeads,
  loadMedusaHeads,
  type MedusaNotes,
  type MedusaWeights,
  openMedusaHeads,
  type StoredMedusa,
  saveMedusaHeads,
} from './checkpoint/medusa-files.ts';
export type { MedusaTree } from './checkpoint/medusa-trees.ts';
export { writeOnnxModel } from './export/onnx-model.ts';
export { type Document, loadDocuments, type ReadDocumentsOptions, readDocuments } from './data/documents.ts';
export { PackedDataset, type PackingMode, type PackingOptions, packDocuments } from './data/packing.ts';
export type { BatchTensors, RowDataset, RowInput, RowInputs, RowVisit } from './data/row-dataset.ts';
export { type PairOptions, TextPairDataset } from './data/sequence-pairs.ts';
export { type DocumentSplit, splitDocuments } from './data/split.ts';
// Decoding.
export * from './decoding/library.ts';
export { DecodingEngine } from './decoding/engine.ts';
export { type BeamOptions, type BeamScorer, beamSearch, type Hypothesis } from './decoding/search/beam-search.ts';
export { beamMethod, type BeamMethodOptions } from './decoding/search/beam-method.ts';
export { continueByBeams, type ContinueOptions } from './decoding/search/causal-beams.ts';
export { StepEngine } from './decoding/step-engine.ts';
export { type RestoredSession, restoreSession, type SavedSession, saveSession } from './decoding/state/session-file.ts';
export { CombinedDrafter, type CombinedOptions } from './decoding/speculation/combined-drafter.ts';
export { type HeadPredictions, MedusaDrafter, stockPaths } from './decoding/speculation/medusa-drafter.ts';
export { ModelDrafter, type ModelDrafterOptions } from './decoding/speculation/model-drafter.ts';
export { ObservedDrafter, type PathAcceptance, sumAcceptance } from './decoding/speculation/observed-drafter.ts';
export type { Pace } from './decoding/speculation/pacing.ts';
export { ReferenceDrafter, type ReferenceOptions } from './decoding/speculation/reference-drafter.ts';
export { type ErrorCode, LinnetError, OptionsError } from './errors.ts';
// Measuring.
export { type CheckOptions, type CheckReport, type CheckRow, checkModel } from './evaluation/check/check.ts';
export {
  type EvaluateOptions,
  type EvaluatorOptions,
  PerplexityEvaluator,
  type PerplexityResult,
  perplexity,
} from './evaluation/perplexity/perplexity.ts';
export {
  type ComparedParameters,
  compareLayers,
  type CompareLayersOptions,
  type LayerComparison,
  type LayerDifference,
} from './evaluation/precision/layer-error.ts';
export { compareOutputs, type OutputDifference } from './evaluation/precision/output-error.ts';
export {
  type EvaluationData,
  evaluationData,
  slidingWindows,
  type WindowMode,
  type WindowOptions,
} from './evaluation/perplexity/scored-windows.ts';
export {
  type CompareRulesOptions,
  compareRules,
  type NamedRule,
  type RuleAgreement,
  verificationRules,
} from './studies/verification-rules.ts';
// Exported folders.
export { exportFolder } from './export/export-folder.ts';
export { type ExportOptions, exportModel } from './export/export-model.ts';
export { type ErrorReport, type ExportManifest, type MeasuredErrors, parseManifest } from './export/manifest.ts';
export {
  type ExportedFolder,
  type ExportedModel,
  isExportedFolder,
  type OpenExportOptions,
  openExportedHeads,
  openExportedModel,
  readExportedFolder,
} from './export/open-export.ts';
export { type DraftHeads, hasDraftHeads, openDraftHeads } from './export/open-heads.ts';
export { type DecodingModel, openDecodingModel } from './export/open-model.ts';
export { type GraphTypes, type StorageType, storageTypeNames, storageTypes } from './export/storage-types.ts';
export { stepPerplexity } from './evaluation/perplexity/step-perplexity.ts';
export { gradients } from './graph/gradients.ts';
export { Graph, type Value } from './graph/graph.ts';
export { lowerGraph } from './graph/onnx/lowering.ts';
export * as ops from './graph/ops/index.ts';
// Computations and how they run.
export { type DType, float32, int32, type Tensor, tensor } from './graph/tensor.ts';
export { bertClasses, bertClassifier, bertClassifierParameters, bertClassLogits } from './models/bert/classifier.ts';
export { bertShape, bertShapeNames } from './models/bert/shapes.ts';
export { classLogits, lastTokenRows, scoreParameters } from './models/classification.ts';
export { type Classifier, classifier, describeClassifier } from './models/classifier.ts';
export { describeCausalModel, describeModel, type Model, requireCausal, supportedFamilies } from './models/families.ts';
export {
  type FlashConfig,
  type FlashConfigInput,
  paperFlashConfig,
  parseFlashConfig,
} from './models/flash/config.ts';
export { flashLogits, flashModel, flashParameters, initializeFlash } from './models/flash/model.ts';
export { gpt2Shape, gpt2ShapeNames } from './models/gpt2/shapes.ts';
export { t5ClassLogits, t5ClassParameters } from './models/t5/classifier.ts';
export { t5Model } from './models/t5/model.ts';
export { t5Shape, t5ShapeNames } from './models/t5/shapes.ts';
export { initializeParameters } from './models/initialize.ts';
export { modelPreset, modelPresetNames } from './models/presets.ts';
export { linearize } from './models/linearize.ts';
export { initializeMedusa, type MedusaConfig } from './models/medusa.ts';
export { MedusaHeads } from './models/medusa-heads.ts';
// Models and their files.
export type {
  CausalModel,
  EncoderDecoderModel,
  EncoderModel,
  GeneratingModel,
  ModelDescription,
  ModelSizes,
} from './models/model.ts';
export { parallelLogits } from './models/parallel-graph.ts';
export { InputParameters, type ParameterSource, WeightParameters } from './nn/parameters.ts';
// Weights in fewer bits.
export { storedParameters, type WeightType, weightTypes } from './quantization/sources.ts';
export { readerOf, type WeightReader, type WeightRows } from './quantization/weight-reader.ts';
export { Random, type RandomState } from './random.ts';
// Reports.
export { type BarChartDescription, barChart, type LineChartDescription, lineChart } from './report/chart.ts';
export { type Block, type Report, renderReport, type Section, writeReport } from './report/html.ts';
export { openRun, type Run, type RunRecord, readRun } from './report/record.ts';
export { type Column, makeTable, markdownTable, type Table, textTable } from './report/table.ts';
export { type TreeChartDescription, treeChart } from './report/tree-chart.ts';
export { isDeviceAvailable } from './runtime/availability.ts';
export { type CompileOptions, compile, type Device, type Program, type ProgramStatistics } from './runtime/compile.ts';
export { type SpecialTokens, type TokenizerFiles, tokenizerFileContents } from './tokenizer/byte-level.ts';
export { byteTokenizer, byteTokenizerFiles } from './tokenizer/bytes.ts';
export { type HuggingFaceTokenizerFiles, huggingFaceTokenizer } from './tokenizer/hugging-face.ts';
// Text.
export { type EncodeOptions, loadTokenizer, type Tokenizer } from './tokenizer/tokenizer.ts';
export { type TrainBpeOptions, type TrainBpeProgress, trainBpe } from './tokenizer/train-bpe.ts';
// Training.
export { type PairMedusaJob, trainPairMedusa } from './training/objectives/medusa-pairs.ts';
export {
  type BatchValues,
  causalObjective,
  nextTokenLoss,
  type Objective,
  tokenLoss,
} from './training/objectives/next-token.ts';
export { parseTrainingSettings, type TrainingInput, type TrainingSettings } from './training/settings.ts';
export { type TrainingJob, type TrainingOutcome, train, type UpdateEvent } from './training/trainer.ts';
