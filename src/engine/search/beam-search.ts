/**
 * Beam search: the most probable continuations of each of several texts, W hypotheses at a time. It knows no model, only
 * a scorer; semantics are those that Hugging Face documents for `num_beams`, `length_penalty` and `early_stopping`.
 *
 * A finished hypothesis of n tokens, its EOS counted, has the score Σ log p / n^penalty. In every step the 2·W best
 * continuations of a text's hypotheses are looked at; those that end with EOS and are among the first W are finished, the
 * first W others go on. Of the finished, the best W are kept.
 */
import { internalError, LinnetError } from '../../errors.ts';

/** What beam search asks of a model. */
export interface BeamScorer {
  /** S: texts to continue. */
  readonly texts: number;
  /** W: hypotheses of each. */
  readonly beams: number;
  /** Logits [V] of the first token of every text. */
  first(): Promise<readonly Float32Array[]>;
  /**
   * Lets hypotheses read a token each, W for every text that is not done.
   * @param texts places of these texts among those of the call before
   * @param parents the hypothesis, of the call before, that each continues; W·texts of them
   * @param tokens what each reads
   * @returns logits [V] of what follows each
   */
  next(
    texts: readonly number[],
    parents: readonly number[],
    tokens: readonly number[],
  ): Promise<readonly Float32Array[]>;
}

/** The width and the end of a beam search. */
export interface BeamOptions {
  /** Most tokens of a continuation, EOS counted. */
  readonly maxTokens: number;
  /** Tokens that end a continuation. */
  readonly eosIds: readonly number[];
  /** Above 0 longer continuations are favoured, below 0 shorter ones. Default 1: the mean of log p. */
  readonly lengthPenalty?: number;
  /**
   * When a text is done: `true`, as soon as W hypotheses are finished; `false` (default), when no running one can do
   * better if it ended now; `never`, when none can whatever follows.
   */
  readonly earlyStopping?: boolean | 'never';
  /** How many continuations of each text to give, at most W. Default 1. */
  readonly best?: number;
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
}

/** A continuation of a text. */
export interface Hypothesis {
  /** Without EOS. */
  readonly tokens: readonly number[];
  /** Σ log p of its tokens, of EOS too where it ends with one. */
  readonly logProbability: number;
  /** What hypotheses are ordered by. */
  readonly score: number;
  /** Whether it ends with EOS; otherwise it was cut at `maxTokens`. */
  readonly ended: boolean;
  /** The EOS that it ends with, where it does. */
  readonly endToken?: number;
}

interface Running {
  readonly tokens: readonly number[];
  readonly sum: number;
}

/** A way to go on: a running hypothesis, by its place, and a token. */
interface Candidate {
  readonly parent: number;
  readonly token: number;
  readonly sum: number;
}

/**
 * The best continuations of each text, best first.
 * @throws LinnetError `INPUT` for options out of range, `ABORTED` when the signal fires between two steps
 * @example
 * ```ts
 * const [best] = await beamSearch(scorer, options);
 * ```
 */
export async function beamSearch(scorer: BeamScorer, options: BeamOptions): Promise<Hypothesis[][]> {
  const { beams: W } = scorer;
  const { maxTokens, best = 1, signal } = options;
  requireCount('maxTokens', maxTokens, Number.MAX_SAFE_INTEGER);
  requireCount('best', best, W);
  const ends = new Set(options.eosIds);
  const searches = Array.from({ length: scorer.texts }, () => new TextSearch(W, options, ends));
  let logits = await scorer.first();
  let live = searches.map((_, text) => text);
  // Each text begins with one hypothesis, whatever rows the scorer has for it.
  live.forEach((text) => {
    searches[text].advance([logits[text]]);
  });
  for (;;) {
    const places = live.flatMap((text, place) => (searches[text].done ? [] : [place]));
    if (places.length === 0) break;
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'beam search was stopped');
    const parents = places.flatMap((place) => searches[live[place]].parents.map((parent) => place * W + parent));
    live = places.map((place) => live[place]);
    logits = await scorer.next(
      places,
      parents,
      live.flatMap((text) => searches[text].lastTokens),
    );
    live.forEach((text, place) => {
      searches[text].advance(logits.slice(place * W, (place + 1) * W));
    });
  }
  return searches.map((search) => search.finished.slice(0, best));
}

/** The search for continuations of one text: takes logits, says what each hypothesis reads next. */
export class TextSearch {
  /** At most W, best first. */
  finished: Hypothesis[] = [];
  done = false;
  /** The hypothesis of the step before that each running one continues; W of them, the last repeated to fill up. */
  parents: readonly number[] = [];
  readonly #beams: number;
  readonly #options: Omit<BeamOptions, 'eosIds'>;
  readonly #ends: Pick<ReadonlySet<number>, 'has'>;
  /** Best first. */
  #running: readonly Running[] = [{ tokens: [], sum: 0 }];
  #length = 0;

  /** @param ends tokens that end a continuation */
  constructor(beams: number, options: Omit<BeamOptions, 'eosIds'>, ends: Pick<ReadonlySet<number>, 'has'>) {
    this.#beams = beams;
    this.#options = options;
    this.#ends = ends;
  }

  /** The last token of each running hypothesis, W of them. */
  get lastTokens(): readonly number[] {
    return filled(this.#running, this.#beams).map(({ tokens }) => tokens[tokens.length - 1]);
  }

  /** Takes the logits [V] of each running hypothesis; further rows are ignored. */
  advance(logits: readonly Float32Array[]): void {
    const W = this.#beams;
    this.#length++;
    const candidates = bestCandidates(this.#running, logits, 2 * W);
    const going: { candidate: Candidate; running: Running }[] = [];
    for (const [rank, candidate] of candidates.entries()) {
      const { tokens } = this.#running[candidate.parent];
      if (this.#ends.has(candidate.token)) {
        if (rank < W) this.#finish(tokens, candidate.sum, candidate.token);
      } else if (going.length < W) {
        going.push({ candidate, running: { tokens: [...tokens, candidate.token], sum: candidate.sum } });
      }
    }
    this.#running = going.map(({ running }) => running);
    this.parents = filled(going, W).map(({ candidate }) => candidate.parent);
    this.done = going.length === 0 || this.#isDone(candidates[0].sum);
    if (!this.done && this.#length < this.#options.maxTokens) return;
    // What still runs when the end is reached counts as it is; of a text that is done, nothing more.
    if (!this.done) for (const { tokens, sum } of this.#running) this.#finish(tokens, sum);
    this.done = true;
  }

  #finish(tokens: readonly number[], sum: number, endToken?: number): void {
    const score = this.#score(sum, this.#length);
    this.finished.push({ tokens, logProbability: sum, score, ended: endToken !== undefined, endToken });
    this.finished.sort((a, b) => b.score - a.score); // stable: of equals, the one that was finished first
    this.finished.length = Math.min(this.finished.length, this.#beams);
  }

  #score(sum: number, length: number): number {
    return sum / length ** (this.#options.lengthPenalty ?? 1);
  }

  /** @param bestSum Σ log p of the best candidate of this step */
  #isDone(bestSum: number): boolean {
    const { earlyStopping = false, lengthPenalty = 1, maxTokens } = this.#options;
    if (this.finished.length < this.#beams) return false;
    if (earlyStopping === true) return true;
    const longest = earlyStopping === 'never' && lengthPenalty > 0 ? maxTokens : this.#length;
    return this.finished[this.finished.length - 1].score >= this.#score(bestSum, longest);
  }
}

/** W of the items: the last one again where there are fewer. */
function filled<Item>(items: readonly Item[], count: number): Item[] {
  if (items.length === 0) return [];
  return Array.from({ length: count }, (_, i) => items[Math.min(i, items.length - 1)]);
}

/** The most probable ways to go on, best first; of equals the first hypothesis and the lowest token. */
function bestCandidates(running: readonly Running[], logits: readonly Float32Array[], count: number): Candidate[] {
  const best: Candidate[] = [];
  running.forEach(({ sum }, parent) => {
    const row = logits[parent];
    if (row === undefined) throw internalError('the scorer left out a hypothesis');
    const normalizer = logSumExp(row);
    for (let token = 0; token < row.length; token++) {
      const candidate = sum + row[token] - normalizer;
      if (best.length === count && candidate <= best[count - 1].sum) continue;
      let place = best.length;
      while (place > 0 && best[place - 1].sum < candidate) place--;
      best.splice(place, 0, { parent, token, sum: candidate });
      if (best.length > count) best.pop();
    }
  });
  return best.filter(({ sum }) => sum > Number.NEGATIVE_INFINITY);
}

/** @throws LinnetError `RUNTIME` for logits that no distribution can be made of */
function logSumExp(logits: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > largest) largest = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  const result = largest + Math.log(total);
  if (!Number.isFinite(result)) {
    throw new LinnetError('RUNTIME', 'logits are not numbers: the model or its state is broken');
  }
  return result;
}

export function requireCount(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  throw new LinnetError('INPUT', `${name} is ${value}, expected a whole number from 1 to ${most}`);
}
