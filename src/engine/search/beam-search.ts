/**
 * Beam search: the most probable continuations of a text, W hypotheses at a time. Semantics are those that Hugging Face
 * documents for `num_beams`, `length_penalty` and `early_stopping`.
 *
 * A finished hypothesis of n tokens, its EOS counted, has the score Σ log p / n^penalty. In every step the 2·W best
 * continuations of a text's hypotheses are looked at; those that end with EOS and are among the first W are finished, the
 * first W others go on. Of the finished, the best W are kept.
 */
import { chain } from '../../attention/tree.ts';
import { logSumExp } from '../../decoding/log-sum-exp.ts';
import type { Continuation, DecodingMethod, ReadPrompt } from '../../decoding/method.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepRequest } from '../../decoding/step-engine.ts';
import { BrokenLogitsError, LinnetError, internalError } from '../../errors.ts';
import { requireCount } from '../../files/arguments.ts';

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

/** A way to go on: a running hypothesis, by its place, and a token. */
interface Candidate {
  readonly parent: number;
  readonly token: number;
  readonly sum: number;
}

interface Running {
  /** The hypothesis of the step before that it continues. */
  readonly parent: number;
  readonly tokens: readonly number[];
  readonly sum: number;
}

/** The search for continuations of one text. It knows no model: takes logits, returns the next token of each hypothesis. */
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

  /** The hypothesis of the step before that each running one continues. */
  get parents(): readonly number[] {
    return this.#running.map(({ parent }) => parent);
  }

  /** The last token of each running hypothesis. */
  get lastTokens(): readonly number[] {
    return this.#running.map(({ tokens }) => tokens[tokens.length - 1]);
  }

  /** Takes the logits [V] of each running hypothesis. */
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

/** The most probable ways to go on, best first; of equals the first hypothesis and the lowest token. */
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

/** Options of the search; length and end tokens come from the text. */
export interface BeamMethodOptions extends Omit<SearchOptions, 'maxTokens'> {
  /** Called when the search has ended, with at most W hypotheses, the best one first. */
  readonly onFound?: (hypotheses: readonly Hypothesis[]) => void;
}

/**
 * Beam search: the text is the best of W hypotheses. They are forks of the state, which cost the same after any text, and a
 * step reads a token of each. Draws nothing: a sampler has no say.
 * @param beams W, hypotheses
 * @throws LinnetError `INPUT` for W that is not a whole number of at least 1
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
  const { engine, state: kept } = prompt;
  let search: TextSearch | undefined;
  /** The next token of every hypothesis; its state becomes the hypothesis's state when node 0 is committed. */
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
        // The last continuation of a hypothesis takes its state over, the others copy it; the prompt's stays as it is.
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
    /** Drops the states of hypotheses; the state of the prompt reads the tokens found. */
    settle: (length) => Promise.resolve(found.slice(0, Math.max(0, length - kept.length))),
  };
}
