/**
 * Adjustments of logits before any filter: penalties for tokens that have occurred, a bias of single tokens, and a
 * constraint that forbids tokens. In this order, so that a bias is added in full, and nothing brings back a forbidden
 * token.
 */
import { LinnetError } from '../errors.ts';
import { requireKind } from '../files/arguments.ts';

/**
 * Which tokens may follow a text: [V], 0 for those that may not; undefined where all may.
 *
 * It is asked for the text at every node where a token is chosen. Verification of drafts asks along the accepted path
 * alone (rules `exact` and `rejection`), so that texts grow from call to call; `typical` looks at branches too, where the
 * last tokens may be others than in the call before. The same text must always give the same answer.
 *
 * @param text prompt and continuation so far, newest last; not to be kept
 */
export type TokenConstraint = (text: ArrayLike<number>) => Uint8Array | undefined;

/** Inputs of choices besides the configuration, for one text. */
export interface SamplingContext {
  readonly constraint?: TokenConstraint;
  /** Where in the text penalties begin to look: the length of the prompt leaves it out. Default 0. */
  readonly penalizedFrom?: number;
}

/** The fields of a `SamplerConfig` that change logits. */
interface AdjustmentConfig {
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly repetitionWindow: number;
  readonly logitBias: Readonly<Record<string, number | false>>;
}

/** The changes of one sampler. Buffers are kept, so that no token allocates. */
export class LogitAdjustments {
  /** How many of the last tokens `apply` looks at. */
  readonly lookback: number;
  readonly #config: AdjustmentConfig;
  readonly #penalizes: boolean;
  readonly #from: number;
  readonly #bias: readonly (readonly [token: number, bias: number])[];
  readonly #constraint: TokenConstraint | undefined;
  /** How often each token occurs in the window. */
  readonly #counts = new Map<number, number>();

  constructor(config: AdjustmentConfig, { constraint, penalizedFrom = 0 }: SamplingContext) {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, repetitionWindow, logitBias } = config;
    this.#config = config;
    this.#penalizes =
      (repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0) && repetitionWindow > 0;
    this.#from = penalizedFrom;
    this.#bias = Object.entries(logitBias).map(([token, bias]) => [Number(token), bias === false ? -Infinity : bias]);
    this.#constraint = constraint;
    // Positions count from the beginning of the text, so that a window of it would not do.
    const whole = constraint !== undefined || (this.#penalizes && penalizedFrom > 0);
    this.lookback = whole ? Infinity : this.#penalizes ? repetitionWindow : 0;
  }

  /**
   * @param logits [V], changed in place
   * @param recent the text so far
   * @throws LinnetError as `Sampler.next`
   */
  apply(logits: Float64Array, recent: ArrayLike<number>): void {
    if (this.lookback > 0 && !Array.isArray(recent)) {
      requireKind(recent, 'recent tokens', ['length'], 'a list of tokens');
    }
    if (this.#penalizes) this.#penalize(logits, recent);
    for (const [token, bias] of this.#bias) {
      if (token >= logits.length) throw outside('biased', token, logits.length);
      logits[token] += bias;
    }
    if (this.#constraint !== undefined) forbid(logits, this.#constraint(recent));
  }

  #penalize(logits: Float64Array, recent: ArrayLike<number>): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, repetitionWindow } = this.#config;
    const counts = this.#counts;
    counts.clear();
    for (let i = Math.max(this.#from, recent.length - repetitionWindow); i < recent.length; i++) {
      const token = recent[i];
      if (!(Number.isInteger(token) && token >= 0 && token < logits.length)) {
        throw outside('recent', token, logits.length);
      }
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    for (const [token, count] of counts) {
      const logit = logits[token];
      const repeated = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      logits[token] = repeated - presencePenalty - count * frequencyPenalty;
    }
  }
}

function forbid(logits: Float64Array, allowed: Uint8Array | undefined): void {
  if (allowed === undefined) return;
  if (allowed.length !== logits.length) {
    throw new LinnetError(
      'SHAPE',
      `the constraint's mask has ${allowed.length} tokens, the vocabulary ${logits.length}; give one entry per token`,
    );
  }
  for (let token = 0; token < allowed.length; token++) if (allowed[token] === 0) logits[token] = -Infinity;
}

function outside(what: string, token: number, vocabulary: number): LinnetError {
  return new LinnetError('INPUT', `${what} token ${token} is outside the vocabulary of ${vocabulary}`);
}
