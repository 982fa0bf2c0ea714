/**
 * `linnet/evaluation`: measures how good a model is, and checks that all its forms compute the same: perplexity, accuracy,
 * the check for leaks, errors of stored types (docs/verify.md).
 */
export {
  type Agreement,
  type AgreementOptions,
  fartherProbability,
  greedyTexts,
  meanAgreement,
  samplePrompts,
  type TextAgreement,
  textAgreement,
} from './agreement/agreement.ts';
export { type CheckOptions, type CheckReport, type CheckRow, checkModel } from './check/check.ts';
export { type TokenInfluence, tokenInfluence } from './check/token-influence.ts';
export {
  type EvaluateOptions,
  PerplexityEvaluator,
  type PerplexityResult,
  perplexity,
  stepPerplexity,
} from './perplexity/perplexity.ts';
export type { WindowGraphOptions } from './perplexity/window-batches.ts';
export {
  type EvaluationData,
  evaluationData,
  type ScoredWindow,
  slidingWindows,
  type WindowMode,
  type WindowOptions,
} from './perplexity/scored-windows.ts';
export { accuracy, type AccuracyOptions, regression } from './tasks/accuracy.ts';

export type { AccuracyResult, ClassAccuracy, RegressionResult } from './tasks/metrics/quality.ts';
