/**
 * `linnet/evaluation`: how good a model is, and whether all its forms compute the same: perplexity, accuracy, the check for
 * leaks, errors of stored types (docs/verify.md).
 */
export { type CheckOptions, type CheckReport, type CheckRow, checkModel } from './check/check.ts';
export { type TokenInfluence, tokenInfluence } from './check/token-influence.ts';
export {
  type EvaluateOptions,
  type EvaluatorOptions,
  PerplexityEvaluator,
  type PerplexityResult,
  perplexity,
} from './perplexity/perplexity.ts';
export {
  type EvaluationData,
  evaluationData,
  type ScoredWindow,
  slidingWindows,
  type WindowMode,
  type WindowOptions,
} from './perplexity/scored-windows.ts';
export { stepPerplexity } from './perplexity/step-perplexity.ts';
export {
  type ComparedParameters,
  compareLayers,
  type CompareLayersOptions,
  type LayerComparison,
  type LayerDifference,
} from './precision/layer-error.ts';
export { compareOutputs, type OutputDifference } from './precision/output-error.ts';
export { accuracy, regression } from './tasks/accuracy.ts';
export type { AccuracyOptions } from './tasks/classifier-outputs.ts';
export type { AccuracyResult, ClassAccuracy, RegressionResult } from './tasks/metrics/quality.ts';
