/**
 * What evaluation asks of a language model, wherever it runs: log-likelihoods of continuations and of whole texts, and
 * greedy answers. The conventions are those of lm-evaluation-harness, so that numbers can be laid next to published ones.
 */
import type { Stoppable } from '../../errors.ts';

/** A continuation whose probability after a context is wanted. */
export interface ScoreRequest {
  readonly context: string;
  /** With the space in front of it, where there is one. */
  readonly continuation: string;
}

/** How probable a continuation is. */
export interface Score {
  /** Σ log p of its tokens, in nats. */
  readonly logLikelihood: number;
  /** Whether each of its tokens was the most probable one. */
  readonly isGreedy: boolean;
}

/** A text to be generated greedily. */
export interface GenerateRequest {
  readonly context: string;
  /** The text ends before the first of these; empty ones do not count. */
  readonly until: readonly string[];
  readonly maxTokens: number;
}

/** Tokens read so far. */
export interface ScorerUsage {
  /** Tokens that the model read. */
  readonly tokensRead: number;
  /** Tokens that it did not read again, since another request had begun with them. */
  readonly tokensReused: number;
  readonly tokensGenerated: number;
}

export interface ScorerOptions extends Stoppable {
  /** Told how many requests are done, of how many. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A model that can be evaluated. Answers come in the order of the requests. */
export interface Scorer {
  /** Questions of likelihoods that are best asked together, where it minds. */
  readonly together?: number;
  /** @throws LinnetError `INPUT` for a continuation without a token, `ABORTED` when the signal fires */
  score(requests: readonly ScoreRequest[], options?: ScorerOptions): Promise<Score[]>;
  /** Σ log p of whole texts, each from its beginning, in nats. @throws LinnetError `INPUT` for an empty text */
  rolling(texts: readonly string[], options?: ScorerOptions): Promise<number[]>;
  generate(requests: readonly GenerateRequest[], options?: ScorerOptions): Promise<string[]>;
  readonly usage: ScorerUsage;
}
