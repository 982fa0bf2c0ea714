/**
 * `linnet/decoding`: how models generate. Engines and states, sampling, beam search, speculation, session files
 * (docs/reference/three-forms.md, docs/speculate.md).
 */
export * from './library.ts';
export { DecodingEngine } from '../decoding/engine.ts';
export { negativeLogLikelihood } from '../decoding/log-sum-exp.ts';
export { type ContinuationScore, scoreContinuations } from './scoring/engine-scorer.ts';
export { beamMethod, type BeamMethodOptions, type Hypothesis } from './search/beam-search.ts';
export { CombinedDrafter, type CombinedOptions } from '../decoding/speculation/drafters/combined-drafter.ts';
export {
  type HeadPredictions,
  MedusaDrafter,
  medusaDrafters,
  defaultTreePaths,
} from '../decoding/speculation/drafters/medusa-drafter.ts';
export { ModelDrafter, type ModelDrafterOptions } from '../decoding/speculation/drafters/model-drafter.ts';
export type { Pace } from '../decoding/speculation/adaptive-speculation.ts';
export { ReferenceDrafter, type ReferenceOptions } from '../decoding/speculation/drafters/reference-drafter.ts';
export { restoreSession, saveSession } from '../decoding/state/session-file.ts';
export type { Snapshot } from '../decoding/state/session-format.ts';
export { StepEngine } from '../decoding/step-engine.ts';
