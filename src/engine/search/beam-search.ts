/**
 * Beam search: a text's most probable continuations, W hypotheses at a time, as Hugging Face documents `num_beams`,
 * `length_penalty` and `early_stopping`.
 *
 * A finished hypothesis of n tokens, including EOS, scores Σ log p / n^penalty. Every step considers the 2·W best continuations
 * of a text's hypotheses: those among the first W that end with EOS are finished, the first W others continue. The best W
 * finished ones are kept.
 */
import { chain } from '../../attention/tree.ts';
import { logSumExp } from '../../decoding/log-sum-exp.ts';
import type { Continuation, DecodingMethod, ReadPrompt } from '../../decoding/method.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepRequest } from '../../decoding/step-engine.ts';
import { BrokenLogitsError, LinnetError, internalError } from '../../errors.ts';
import { requireCount } from '../../files/arguments.ts';

/** Length of continuations, and when a search ends. */
export interface SearchOptions {
  /** Most tokens per continuation, including EOS. */
  readonly maxTokens: number;
  /** Above 0 favors longer continuations, below 0 shorter ones. Default 1: the mean of log p. */
  readonly lengthPenalty?: number;
  /**
   * When a text is done: `true`, as soon as W hypotheses are finished; `false` (default), when no running one would do better
   * if it ended now; `never`, when none could, whatever follows.
   */
  readonly earlyStopping?: boolean | 'never';
}

/** A text's continuation. */
export interface Hypothesis {
  /** Without EOS. */
  readonly tokens: readonly number[];
  /** Σ log p of its tokens, including a final EOS. */
  readonly logProbability: number;
  /** The score that orders hypotheses. */
  readonly score: number;
  /** Whether it ends with EOS; if not, it was cut at `maxTokens`. */
  readonly ended: boolean;
  /** The EOS that ends it, if any. */
  readonly endToken?: number;
}

/** A possible continuation: a running hypothesis, by its place, and a token. */
interface Candidate {
  readonly parent: number;
  readonly token: number;
  readonly sum: number;
}

interface Running {
  /** The previous step's hypothesis that it continues. */
  readonly parent: number;
  readonly tokens: readonly number[];
  readonly sum: number;
}

/** Searches for one text's continuations. It knows no model: takes logits, returns each hypothesis's next token. */
export class TextSearch {
  /** At most W, best first. */
  finished: Hypothesis[] = [];
  done = false;
  readonly #beams: number;
  readonly #options: SearchOptions;
  readonly #ends: Pick<ReadonlySet<number>, 'has'>;
  /** Best first. */
  #running: readonly Running[] = [{ parent: 0, tokens: [], sum: 0 }];
  #length = 0;

  /** @param ends tokens that end a continuation */
  constructor(beams: number, options: SearchOptions, ends: Pick<ReadonlySet<number>, 'has'>) {
    this.#beams = beams;
    this.#options = options;
    this.#ends = ends;
  }

  /** The previous step's hypothesis that each running one continues. */
  get parents(): readonly number[] {
    return this.#running.map(({ parent }) => parent);
  }

  /** Each running hypothesis's last token. */
  get lastTokens(): readonly number[] {
    return this.#running.map(({ tokens }) => tokens[tokens.length - 1]);
  }

  /** Takes the logits [V] for each running hypothesis. */
  advance(logits: readonly Float32Array[]): void {
    const W = this.#beams;
    this.#length++;
    const candidates = bestCandidates(this.#running, logits, 2 * W);
    const going: Running[] = [];
    for (const [rank, { parent, token, sum }] of candidates.entries()) {
      const { tokens } = this.#running[parent];
      if (this.#ends.has(token)) {
        if (rank < W) this.#finish(tokens, sum, token);
      } else if (going.length < W) going.push({ parent, tokens: [...tokens, token], sum });
    }
    this.#running = going;
    this.done = going.length === 0 || this.#isDone(candidates[0].sum);
    if (!this.done && this.#length < this.#options.maxTokens) return;
    // Hypotheses still running at the end count as they are; if the text is done, none do.
    if (!this.done) for (const { tokens, sum } of this.#running) this.#finish(tokens, sum);
    this.done = true;
  }

  #finish(tokens: readonly number[], sum: number, endToken?: number): void {
    const score = this.#score(sum, this.#length);
    this.finished.push({ tokens, logProbability: sum, score, ended: endToken !== undefined, endToken });
    this.finished.sort((a, b) => b.score - a.score); // stable: on ties, the one finished first
    this.finished.length = Math.min(this.finished.length, this.#beams);
  }

  #score(sum: number, length: number): number {
    return sum / length ** (this.#options.lengthPenalty ?? 1);
  }

  /** @param bestSum Σ log p of this step's best candidate */
  #isDone(bestSum: number): boolean {
    const { earlyStopping = false, lengthPenalty = 1, maxTokens } = this.#options;
    if (this.finished.length < this.#beams) return false;
    if (earlyStopping === true) return true;
    const longest = earlyStopping === 'never' && lengthPenalty > 0 ? maxTokens : this.#length;
    return this.finished[this.finished.length - 1].score >= this.#score(bestSum, longest);
  }
}

/** The most probable continuations, best first; ties by first hypothesis and lowest token. */
function bestCandidates(running: readonly Running[], logits: readonly Float32Array[], count: number): Candidate[] {
  const best: Candidate[] = [];
  running.forEach(({ sum }, parent) => {
    const row = logits[parent];
    if (row === undefined) throw internalError('a step left out a hypothesis');
    const normalizer = logSumExp(row);
    if (!Number.isFinite(normalizer)) {
      throw new BrokenLogitsError('logits are not numbers');
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

/** Search options; length and end tokens come from the text. */
export interface BeamMethodOptions extends Omit<SearchOptions, 'maxTokens'> {
  /** Called when the search has ended, with at most W hypotheses, best first. */
  readonly onFound?: (hypotheses: readonly Hypothesis[]) => void;
}

/**
 * Beam search: the text is the best of W hypotheses. They fork the state, at the same cost after any text, and a step reads one
 * token for each. Ignores the sampler: nothing is drawn.
 * @param beams W, hypotheses
 * @throws LinnetError `INPUT` if W is not a whole number of at least 1; with the first piece, for a schema, which a search
 *   cannot follow
 * @example
 * ```ts
 * await using model = await open('runs/augmented');
 * const text = await model.generate('Call me', { method: beamMethod(4) }).text();
 * ```
 */
export function beamMethod(beams: number, options: BeamMethodOptions = {}): DecodingMethod {
  requireCount(beams, 'beams');
  return (prompt) => beamContinuation(prompt, beams, options);
}

function beamContinuation(prompt: ReadPrompt, beams: number, options: BeamMethodOptions): Continuation {
  const { engine, state: kept, sampler } = prompt;
  if (sampler.isConstrained) {
    throw new LinnetError('INPUT', 'a beam search follows no grammar or schema; leave out the schema or the search');
  }
  let search: TextSearch | undefined;
  /** The next token of every hypothesis; its state becomes the hypothesis's when node 0 is committed. */
  let requests: readonly StepRequest[] = [];
  let found: readonly number[] = [];
  return {
    plan(_text, { count, ends }) {
      let states: readonly SequenceState[] = requests.map(({ state }) => state);
      if (search === undefined) {
        search = new TextSearch(beams, { ...options, maxTokens: count }, ends);
        search.advance([prompt.logits]);
        states = [kept];
      }
      const { done, parents, lastTokens } = search;
      requests = (done ? [] : parents).map((parent, i) => {
        // A hypothesis's last continuation takes over its state, others copy it; the prompt's stays unchanged.
        const takesOver = parents.lastIndexOf(parent) === i && states[parent] !== kept;
        const state = takesOver ? states[parent] : states[parent].fork();
        return { state, tree: chain(1), tokens: [lastTokens[i]], wanted: [0] };
      });
      return Promise.resolve(requests);
    },
    async conclude(_text, outputs) {
      if (search === undefined) throw internalError('a round ends that was not planned');
      for (const [i, request] of requests.entries()) await engine.commit(request, outputs[i], [0]);
      if (!search.done) search.advance(outputs.map(({ logits }) => logits[0]));
      if (!search.done) return [];
      const best = search.finished.at(0);
      if (best === undefined) {
        throw new LinnetError('RUNTIME', 'the search found no continuation: every token is impossible');
      }
      found = best.tokens;
      options.onFound?.(search.finished);
      return best.endToken === undefined ? best.tokens : [...best.tokens, best.endToken];
    },
    /** Drops the hypotheses' states; the prompt's state reads the found tokens. */
    settle: (length) => Promise.resolve(found.slice(0, Math.max(0, length - kept.length))),
  };
}
