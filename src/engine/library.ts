/**
 * The decoding exports of both libraries, for Node and for browsers: the same names for the same things. Nothing here may need
 * Node.
 */
export { runTogether } from './run-together.ts';
export {
  type Continuation,
  type DecodingMethod,
  type ReadPrompt,
  sequential,
  type StepBounds,
} from '../decoding/method.ts';
export { type Prompt, type PromptInput, type PromptReader, type PromptOptions, preparePrompt } from './prompt.ts';
export { OverloadError } from '../errors.ts';
export { Runner } from './runner.ts';
export {
  type DrafterName,
  drafterMakers,
  LearnedByOwner,
  LearnedTexts,
  lookupDrafter,
  type LookupOptions,
} from '../decoding/speculation/drafters/registry.ts';
export {
  Sampler,
  type SamplerConfig,
  type SamplerInput,
  type SamplingContext,
  type TokenConstraint,
} from '../decoding/sampler.ts';
export { JsonConstraint } from '../decoding/constraints/grammar-constraint.ts';
export { TokenTrie } from '../decoding/constraints/token-trie.ts';
export {
  type AcceptanceRule,
  acceptanceRules,
  exact,
  rejection,
  type TypicalOptions,
  typical,
} from '../decoding/speculation/acceptance.ts';
// Speculation: drafters guess, one step verifies, a rule accepts.
export type { Draft, DraftContext, Drafter, ReadDraft } from '../decoding/speculation/drafters/drafter.ts';
export { MtpDrafter } from '../decoding/speculation/drafters/mtp-drafter.ts';
export { AdaptiveSpeculation, type PacingOptions } from '../decoding/speculation/adaptive-speculation.ts';
export {
  type SpeculationOptions,
  SpeculationStatistics,
  type SpeculationSummary,
  speculative,
} from '../decoding/speculation/speculative.ts';
export type { SequenceState } from '../decoding/state/sequence-state.ts';
export type { StepOutput, StepRequest, StepWeights } from '../decoding/step-engine.ts';
export type {
  EndEvent,
  FinishReason,
  Generation,
  PromptEvent,
  RunnerObserver,
  RunnerOptions,
  StopRules,
  TextEvent,
  TextJob,
  TextRun,
  TokensEvent,
} from './text-job.ts';
