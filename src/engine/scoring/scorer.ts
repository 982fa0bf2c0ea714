/**
 * What evaluation needs from a language model, wherever it runs: log-likelihoods of continuations and whole texts, and greedy
 * answers. Follows lm-evaluation-harness's conventions, so that numbers compare with published ones.
 */
import type { Stoppable } from '../../errors.ts';

/** A continuation to score after a context. */
export interface ScoreRequest {
  readonly context: string;
  /** Including the space in front of it, if any. */
  readonly continuation: string;
}

/** A continuation's probability. */
export interface Score {
  /** Σ log p of its tokens, in nats. */
  readonly logLikelihood: number;
  /** Whether each of its tokens was the most probable. */
  readonly isGreedy: boolean;
}

/** A text to generate greedily. */
export interface GenerateRequest {
  readonly context: string;
  /** The text ends before the first of these; empty ones are ignored. */
  readonly until: readonly string[];
  readonly maxTokens: number;
}

/** Tokens read so far. */
export interface ScorerUsage {
  /** Tokens that the model read. */
  readonly tokensRead: number;
  /** Tokens it did not read again, since another request began with them. */
  readonly tokensReused: number;
  readonly tokensGenerated: number;
}

export interface ScorerOptions extends Stoppable {
  /** Receives the number of finished requests, and of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A model to evaluate. Answers are in the order of the requests. */
export interface Scorer {
  /** Number of likelihood questions best asked together, if it matters. */
  readonly together?: number;
  /** @throws LinnetError `INPUT` for a continuation without a token, `ABORTED` when the signal fires */
  score(requests: readonly ScoreRequest[], options?: ScorerOptions): Promise<Score[]>;
  /** Σ log p of whole texts, each from its beginning, in nats. @throws LinnetError `INPUT` for an empty text */
  rolling(texts: readonly string[], options?: ScorerOptions): Promise<number[]>;
  generate(requests: readonly GenerateRequest[], options?: ScorerOptions): Promise<string[]>;
  readonly usage: ScorerUsage;
}
