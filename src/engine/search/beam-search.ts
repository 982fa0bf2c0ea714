/**
 * Beam search: the most probable continuations of a text, W hypotheses at a time. It knows no model, only logits;
 * semantics are those that Hugging Face documents for `num_beams`, `length_penalty` and `early_stopping`.
 *
 * A finished hypothesis of n tokens, its EOS counted, has the score Σ log p / n^penalty. In every step the 2·W best
 * continuations of a text's hypotheses are looked at; those that end with EOS and are among the first W are finished, the
 * first W others go on. Of the finished, the best W are kept.
 */
import { logSumExp } from '../../decoding/log-sum-exp.ts';
import { internalError, LinnetError } from '../../errors.ts';

/** How long continuations are, and when a search ends. */
export interface SearchOptions {
  /** Most tokens of a continuation, EOS counted. */
  readonly maxTokens: number;
  /** Above 0 longer continuations are favoured, below 0 shorter ones. Default 1: the mean of log p. */
  readonly lengthPenalty?: number;
  /**
   * When a text is done: `true`, as soon as W hypotheses are finished; `false` (default), when no running one can do
   * better if it ended now; `never`, when none can whatever follows.
   */
  readonly earlyStopping?: boolean | 'never';
}

/** A continuation of a text. */
export interface Hypothesis {
  /** Without EOS. */
  readonly tokens: readonly number[];
  /** Σ log p of its tokens, of EOS too where it ends with one. */
  readonly logProbability: number;
  /** The score that orders hypotheses. */
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

/** The search for continuations of one text: takes logits, returns the next token of each hypothesis. */
export class TextSearch {
  /** At most W, best first. */
  finished: Hypothesis[] = [];
  done = false;
  /** The hypothesis of the step before that each running one continues; W of them, the last repeated to fill up. */
  parents: readonly number[] = [];
  readonly #beams: number;
  readonly #options: SearchOptions;
  readonly #ends: Pick<ReadonlySet<number>, 'has'>;
  /** Best first. */
  #running: readonly Running[] = [{ tokens: [], sum: 0 }];
  #length = 0;

  /** @param ends tokens that end a continuation */
  constructor(beams: number, options: SearchOptions, ends: Pick<ReadonlySet<number>, 'has'>) {
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
    if (row === undefined) throw internalError('a step left out a hypothesis');
    const normalizer = logSumExp(row);
    if (!Number.isFinite(normalizer)) {
      throw new LinnetError('RUNTIME', 'logits are not numbers: the model or its state is broken');
    }
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
