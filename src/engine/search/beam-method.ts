/** Beam search as a decoding method: one text of many in common steps, whose tokens come when the search has ended. */
import { chain } from '../../attention/tree.ts';
import { internalError, LinnetError } from '../../errors.ts';
import type { Continuation, DecodingMethod, ReadPrompt, StepBounds } from '../../decoding/method.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepOutput, StepRequest } from '../../decoding/step-engine.ts';
import { type Hypothesis, type SearchOptions, TextSearch } from './beam-search.ts';
import { requireCount } from '../../files/arguments.ts';

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
  return (prompt) => new BeamContinuation(prompt, beams, options);
}

class BeamContinuation implements Continuation {
  readonly #prompt: ReadPrompt;
  readonly #beams: number;
  readonly #options: BeamMethodOptions;
  #search: TextSearch | undefined;
  /** Of each hypothesis; equal hypotheses share one. */
  #states: readonly SequenceState[] = [];
  #round: HypothesisRequests | undefined;
  #tokens: readonly number[] = [];

  constructor(prompt: ReadPrompt, beams: number, options: BeamMethodOptions) {
    this.#prompt = prompt;
    this.#beams = beams;
    this.#options = options;
  }

  plan(_text: readonly number[], { count, ends }: StepBounds): Promise<readonly StepRequest[]> {
    const { state, logits } = this.#prompt;
    if (this.#search === undefined) {
      this.#search = new TextSearch(this.#beams, { ...this.#options, maxTokens: count }, ends);
      this.#search.advance([logits]);
      this.#states = Array.from({ length: this.#beams }, () => state);
    }
    const { done, parents, lastTokens } = this.#search;
    this.#round = done ? undefined : hypothesisRequests(this.#states, parents, lastTokens, state);
    return Promise.resolve(this.#round?.requests ?? []);
  }

  async conclude(_text: readonly number[], outputs: readonly StepOutput[]): Promise<readonly number[]> {
    const search = this.#search;
    if (search === undefined) throw internalError('a round ends that was not planned');
    if (this.#round !== undefined) {
      const { requests, places } = this.#round;
      this.#round = undefined;
      for (const [i, request] of requests.entries()) await this.#prompt.engine.commit(request, outputs[i], [0]);
      this.#states = places.map((place) => requests[place].state);
      search.advance(places.map((place) => outputs[place].logits[0]));
    }
    if (!search.done) return [];
    const best = search.finished.at(0);
    if (best === undefined)
      throw new LinnetError('RUNTIME', 'the search found no continuation: every token is impossible');
    this.#tokens = best.tokens;
    this.#options.onFound?.(search.finished);
    return best.endToken === undefined ? best.tokens : [...best.tokens, best.endToken];
  }

  /** Drops the states of hypotheses; the state of the prompt reads the tokens found. */
  async settle(length: number): Promise<void> {
    const { engine, state } = this.#prompt;
    const unread = this.#tokens.slice(0, Math.max(0, length - state.length));
    if (unread.length > 0) await engine.prefill(state, unread, { weights: 'step' });
  }
}

/** The next token of every hypothesis. */
interface HypothesisRequests {
  /** One per different hypothesis; its state becomes the hypothesis's state when node 0 is committed. */
  readonly requests: readonly StepRequest[];
  /** Which of the requests each hypothesis has. */
  readonly places: readonly number[];
}

/**
 * Lets hypotheses read a token each. Those that are equal, repeated to fill up the beams of a text, are read once.
 * @param states of the hypotheses so far; equal hypotheses share one
 * @param parents index of the state that each continues
 * @param tokens the token that each reads
 * @param kept a state that stays as it is; all others are taken over by their last continuation
 */
function hypothesisRequests(
  states: readonly SequenceState[],
  parents: readonly number[],
  tokens: readonly number[],
  kept?: SequenceState,
): HypothesisRequests {
  const children: { parent: SequenceState; token: number }[] = [];
  const known = new Map<SequenceState, Map<number, number>>();
  const places = parents.map((from, b) => {
    const [parent, token] = [states[from], tokens[b]];
    const ofParent = known.get(parent) ?? new Map<number, number>();
    known.set(parent, ofParent);
    const place = ofParent.get(token) ?? children.push({ parent, token }) - 1;
    ofParent.set(token, place);
    return place;
  });
  // The last child of a hypothesis takes its state over, the others copy it.
  const left = new Map([...known].map(([parent, ofParent]) => [parent, ofParent.size]));
  const requests = children.map(({ parent, token }) => {
    const others = (left.get(parent) ?? 1) - 1;
    left.set(parent, others);
    const state = others === 0 && parent !== kept ? parent : parent.fork();
    return { state, tree: chain(1), tokens: [token], wanted: [0] };
  });
  return { requests, places };
}
