/**
 * What both libraries, for Node and for browsers, export of decoding: the same names for the same things. Nothing here
 * may need Node.
 */
export { type GenerateOptions, type GenerationEvent, generate, generateToEnd } from './generate.ts';
export type { FinishReason } from './growing-text.ts';
export { type Continuation, type DecodingMethod, type ReadPrompt, sequential, type StepBounds } from './method.ts';
export { decodeRound } from './round.ts';
export { Sampler, type SamplerConfig, type SamplerInput, type SamplingContext } from './sampler.ts';
export type { TokenConstraint } from './logit-adjustments.ts';
export { JsonConstraint } from './constraints/json-constraint.ts';
export { TokenTrie } from './constraints/token-trie.ts';
export {
  type AcceptanceRule,
  acceptanceRules,
  exact,
  rejection,
  type TypicalOptions,
  typical,
} from './speculation/acceptance.ts';
// Speculation: drafters guess, one step verifies, a rule accepts.
export type { Draft, DraftContext, Drafter } from './speculation/drafters/drafter.ts';
export { LookupDrafter, type LookupOptions } from './speculation/drafters/lookup-drafter.ts';
export { AdaptiveSpeculation, type PacingOptions } from './speculation/adaptive-speculation.ts';
export { type SpeculationOptions, speculative } from './speculation/speculative.ts';
export { SpeculationStatistics, type SpeculationSummary } from './speculation/statistics.ts';
export type { SequenceState } from './state/sequence-state.ts';
export type { StepOutput, StepRequest, StepWeights } from './step-engine.ts';
export { type Generation, TextGeneration, type TextGenerationOptions, type TokensEvent } from './text-generation.ts';
