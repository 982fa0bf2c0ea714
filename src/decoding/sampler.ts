/**
 * Chooses the next token from logits. Filters act in the conventional order: penalties for tokens that have occurred,
 * biases on single tokens, a constraint that forbids tokens, temperature, top-k, top-p, min-p. So a bias applies in full,
 * and nothing brings back a forbidden token. The remaining tokens are renormalized and drawn from with a seeded generator.
 */
import { z } from 'zod';
import { BrokenLogitsError, LinnetError } from '../errors.ts';
import { share, whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';
import { Random, type RandomState } from '../random.ts';
import { DescendingQueue } from './descending-queue.ts';
import { requireCount, requireKind, requireTokens } from '../files/arguments.ts';

/** The schema of `SamplerConfig`, to embed in requests and files. Refuses unknown fields. */
const samplerSchema = z.strictObject({
  /** Divides logits. 0 takes the largest logit, the lowest token on ties, and ignores later filters. */
  temperature: z.number().min(0).max(100).default(0),
  /** Keeps this many of the most probable tokens, lower ids first on ties; 0 keeps all. */
  topK: whole(0, 1 << 24).default(0),
  /** Keeps the smallest set of most probable tokens whose probabilities sum to at least this; 1 keeps all. */
  topP: z.number().gt(0).max(1).default(1),
  /** Keeps tokens at least this times as probable as the most probable one; 0 keeps all. */
  minP: share.default(0),
  /**
   * Divides recent tokens' logits if positive, multiplies them if negative, once however often the token occurs (Hugging
   * Face's convention, after CTRL, arXiv 1909.05858); 1 changes nothing.
   */
  repetitionPenalty: z.number().min(0.01).max(100).default(1),
  /** Lowers recent tokens' logits, once however often the token occurs; 0 changes nothing. */
  presencePenalty: z.number().min(-100).max(100).default(0),
  /** Lowers recent tokens' logits once for every occurrence; 0 changes nothing. */
  frequencyPenalty: z.number().min(-100).max(100).default(0),
  /** How many of the last tokens penalties read. */
  repetitionWindow: whole(0, 65536).default(64),
  /** Added to tokens' logits, by token id, after the penalties; `false` forbids the token. */
  logitBias: z
    .record(z.string().regex(/^\d{1,8}$/), z.union([z.number().min(-100).max(100), z.literal(false)]))
    .default({}),
  /** Seeds the random numbers; equal seeds give equal texts. */
  seed: whole(0, 0xffffffff).default(0),
});

/** How tokens are chosen. */
export type SamplerConfig = z.infer<typeof samplerSchema>;
/** Sampler settings: fields with a default may be omitted. With none given, it is greedy. */
export type SamplerInput = z.input<typeof samplerSchema>;

/** Names of all configuration fields. */
export const samplerFields = samplerSchema.keyof().enum;

/** Chooses tokens. The first logits size its buffers, which are then reused, so one sampler serves one text at a time. */
export class Sampler {
  readonly config: SamplerConfig;
  /** The generator for draws; verification of drafts also draws from it, so its state is all there is to save. */
  readonly random: Random;
  /** Logits after the penalty, then unnormalized weights exp((x − max)/temperature) of the tokens taken [V]. */
  #weights = new Float64Array(0);
  /** Tokens that passed the filters so far: the first `#kept` entries [V]. */
  #tokens = new Int32Array(0);
  #kept = 0;
  /** Sum of the kept weights. */
  #total = 0;
  #queue: DescendingQueue | undefined;
  /** Undefined if logits stay unchanged. */
  readonly #adjustments: LogitAdjustments | undefined;

  /**
   * @param state continues the random numbers of an earlier sampler (its `random.state`) instead of starting at the seed
   * @param context settings for this text, not the request
   * @throws LinnetError `CONFIG` naming every wrong field
   */
  constructor(config: SamplerInput = {}, state?: RandomState, context: SamplingContext = {}) {
    this.config = validated(samplerSchema, config, 'CONFIG', 'invalid sampling configuration');
    requireCount(context.penalizedFrom ?? 0, 'penalizedFrom', 0, 'CONFIG');
    const adjustments = new LogitAdjustments(this.config, context);
    this.#adjustments = adjustments.isIdle ? undefined : adjustments;
    this.random = state === undefined ? new Random(this.config.seed) : Random.fromState(checkedState(state));
  }

  /** How many of the last tokens `recent` must hold; 0 if no choice depends on the text, Infinity for the whole text. */
  get lookback(): number {
    return this.#adjustments?.lookback ?? 0;
  }

  /** Whether a constraint forbids tokens. */
  get isConstrained(): boolean {
    return this.#adjustments?.constraint !== undefined;
  }

  /**
   * If awaited before `next` or `probabilities` for the same text, keeps long work on the constraint from blocking the
   * thread; undefined if there is none.
   */
  ready(recent: ArrayLike<number>): Promise<void> | undefined {
    return this.#adjustments?.constraint?.ready?.(recent);
  }

  /**
   * The next token.
   *
   * @param logits [V]; −∞ forbids a token
   * @param recent the text so far, newest last; only the last `lookback` tokens are required
   * @throws LinnetError `RUNTIME` if a logit is NaN or +∞, or no token is possible; `INPUT` if a recent or biased token is
   *   not one of the V; `SHAPE` if a constraint's mask has another size
   */
  next(logits: Float32Array, recent: ArrayLike<number>): number {
    this.#filter(logits, recent);
    if (this.#kept === 1) return this.#tokens[0];
    let remaining = this.random.uniform() * this.#total;
    let last = this.#tokens[0];
    for (let i = 0; i < this.#kept; i++) {
      const token = this.#tokens[i];
      const weight = this.#weights[token];
      if (weight === 0) continue;
      remaining -= weight;
      if (remaining < 0) return token;
      last = token; // rounding can leave a little past the end
    }
    return last;
  }

  /**
   * The distribution that `next` draws from: probabilities [V], zero for tokens that the filters removed. Draws nothing.
   *
   * @param target receives the probabilities; a new array if absent
   * @throws LinnetError like `next`
   */
  probabilities(
    logits: Float32Array,
    recent: ArrayLike<number>,
    target: Float64Array = new Float64Array(logits.length),
  ): Float64Array {
    if (target.length !== logits.length) {
      throw new LinnetError(
        'SHAPE',
        `probabilities of ${logits.length} tokens do not fit an array of ${target.length}`,
      );
    }
    this.#filter(logits, recent);
    target.fill(0);
    for (let i = 0; i < this.#kept; i++) {
      const token = this.#tokens[i];
      target[token] = this.#weights[token] / this.#total;
    }
    return target;
  }

  /** Leaves the remaining tokens in `#tokens`, with their weights in `#weights`. */
  #filter(logits: Float32Array, recent: ArrayLike<number>): void {
    if (!(logits instanceof Float32Array)) requireKind(logits, 'logits', ['length', 'buffer'], 'a Float32Array');
    const { temperature, topK, topP, minP } = this.config;
    const V = logits.length;
    if (this.#weights.length !== V) {
      this.#weights = new Float64Array(V);
      this.#tokens = new Int32Array(V);
    }
    const weights = this.#weights;
    weights.set(logits);
    const largestLogit = indexOfLargest(weights);
    this.#adjustments?.apply(weights, recent);
    const largest = this.#adjustments === undefined ? largestLogit : largestAllowed(weights);
    if (temperature === 0) {
      this.#tokens[0] = largest;
      weights[largest] = 1;
      this.#kept = 1;
      this.#total = 1;
      return;
    }
    const highest = weights[largest];
    const exponentiate = (token: number): void => {
      weights[token] = Math.exp((weights[token] - highest) / temperature);
    };
    if (topK > 0 && topK < V) {
      this.#takeLargest(topK);
      for (let i = 0; i < topK; i++) exponentiate(this.#tokens[i]); // not all V: exponentials take most of the time
      if (topP < 1) this.#keepMass(topP);
    } else {
      for (let token = 0; token < V; token++) exponentiate(token);
      if (topP < 1) this.#takeMass(topP);
      else this.#takeAll();
    }
    this.#keepAtLeast(minP);
  }

  #takeAll(): void {
    for (let token = 0; token < this.#tokens.length; token++) this.#tokens[token] = token;
    this.#kept = this.#tokens.length;
  }

  /** The `count` tokens with the largest weights, in descending order. */
  #takeLargest(count: number): void {
    const queue = this.#filledQueue();
    for (let i = 0; i < count; i++) this.#tokens[i] = queue.take();
    this.#kept = count;
  }

  /** All tokens in order of weight. */
  #filledQueue(): DescendingQueue {
    this.#queue ??= new DescendingQueue();
    this.#queue.fill(this.#weights);
    return this.#queue;
  }

  /** Keeps the heaviest of the taken tokens that make up the share `mass` of their weight. */
  #keepMass(mass: number): void {
    let total = 0;
    for (let i = 0; i < this.#kept; i++) total += this.#weights[this.#tokens[i]];
    let needed = 0;
    for (let sum = 0; needed < this.#kept && (needed === 0 || sum < mass * total); needed++) {
      sum += this.#weights[this.#tokens[needed]];
    }
    this.#kept = needed;
  }

  /** Takes the heaviest tokens that make up the share `mass` of all weight; sorts only those. */
  #takeMass(mass: number): void {
    const weights = this.#weights;
    let total = 0;
    for (const weight of weights) total += weight;
    const queue = this.#filledQueue();
    let taken = 0;
    for (let sum = 0; taken < weights.length && (taken === 0 || sum < mass * total); taken++) {
      const token = queue.take();
      this.#tokens[taken] = token;
      sum += weights[token];
    }
    this.#kept = taken;
  }

  /** Keeps the kept tokens with at least `share` times the heaviest weight, which is 1; sums their weights. */
  #keepAtLeast(share: number): void {
    let kept = 0;
    let total = 0;
    for (let i = 0; i < this.#kept; i++) {
      const token = this.#tokens[i];
      const weight = this.#weights[token];
      if (weight < share) continue;
      this.#tokens[kept++] = token;
      total += weight;
    }
    this.#kept = kept;
    this.#total = total;
  }
}

/** @throws LinnetError `INPUT` for anything but a random state */
function checkedState(state: RandomState): RandomState {
  if (requireTokens(state, 'the state of the random numbers').length === 4) return state;
  throw new LinnetError('INPUT', 'the state of random numbers has four numbers');
}

/** The largest logit after biases and a constraint. @throws LinnetError `INPUT` if they forbid all tokens */
function largestAllowed(logits: Float64Array): number {
  let largest = 0;
  for (let token = 0; token < logits.length; token++) if (logits[token] > logits[largest]) largest = token;
  if (logits[largest] > -Infinity) return largest;
  throw new LinnetError(
    'INPUT',
    `none of ${logits.length} tokens is possible: logit biases and grammars forbid them all`,
  );
}

/** The index of the largest logit, the first on ties; refuses logits that make no distribution. */
function indexOfLargest(logits: Float64Array): number {
  let largest = 0;
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token];
    if (Number.isNaN(logit) || logit === Infinity) {
      throw new BrokenLogitsError(`the logit of token ${token} is ${logit}`);
    }
    if (logit > logits[largest]) largest = token;
  }
  if (logits.length === 0 || logits[largest] === -Infinity) {
    throw new LinnetError('RUNTIME', `none of ${logits.length} tokens is possible: every logit is −∞, or forbidden`);
  }
  return largest;
}

/**
 * Which tokens may follow a text: [V], 0 for those that may not; undefined if all may.
 *
 * Called with the text at every node where a token is chosen. Verification of drafts calls it along the accepted path only
 * (rules `exact` and `rejection`), so texts grow from call to call; `typical` also visits branches, where the last tokens
 * may differ from the previous call's. The same text must always give the same answer.
 *
 * @param text prompt and continuation so far, newest last; do not keep it
 */
export interface TokenConstraint {
  (text: ArrayLike<number>): Uint8Array | undefined;
  /** Computes the answer for a text ahead, yielding the thread in between; undefined if it is at hand. */
  ready?: (text: ArrayLike<number>) => Promise<void> | undefined;
}

/** A text's inputs to choices, besides the configuration. */
export interface SamplingContext {
  readonly constraint?: TokenConstraint;
  /** Where in the text penalties start to read: the prompt's length leaves it out. Default 0. */
  readonly penalizedFrom?: number;
}

/** One sampler's changes to logits. Buffers are kept, so that no token allocates. */
class LogitAdjustments {
  /** How many of the last tokens `apply` reads. */
  readonly lookback: number;
  /** Whether all logits stay unchanged. */
  readonly isIdle: boolean;
  readonly #config: SamplerConfig;
  readonly #penalizes: boolean;
  readonly #from: number;
  readonly #bias: readonly (readonly [token: number, bias: number])[];
  readonly constraint: TokenConstraint | undefined;
  /** How often each token occurs in the window. */
  readonly #counts = new Map<number, number>();

  constructor(config: SamplerConfig, { constraint, penalizedFrom = 0 }: SamplingContext) {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, repetitionWindow, logitBias } = config;
    this.#config = config;
    this.#penalizes =
      (repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0) && repetitionWindow > 0;
    this.#from = penalizedFrom;
    this.#bias = Object.entries(logitBias).map(([token, bias]) => [Number(token), bias === false ? -Infinity : bias]);
    this.constraint = constraint;
    // Positions count from the text's beginning, so a window of it would not do.
    const whole = constraint !== undefined || (this.#penalizes && penalizedFrom > 0);
    this.lookback = whole ? Infinity : this.#penalizes ? repetitionWindow : 0;
    this.isIdle = this.lookback === 0 && this.#bias.length === 0;
  }

  /**
   * @param logits [V], changed in place
   * @param recent the text so far
   * @throws LinnetError like `Sampler.next`
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
    if (this.constraint !== undefined) forbid(logits, this.constraint(recent));
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
