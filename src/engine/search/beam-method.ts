/** Beam search as a decoding method: one text of many in common steps, whose tokens come when the search has ended. */
import { internalError, LinnetError } from '../../errors.ts';
import type { Continuation, DecodingMethod, ReadPrompt, StepBounds } from '../../decoding/method.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepOutput, StepRequest } from '../../decoding/step-engine.ts';
import { type Hypothesis, type SearchOptions, TextSearch } from './beam-search.ts';
import { requireCount } from '../../files/arguments.ts';
import { type HypothesisRequests, hypothesisRequests } from './hypotheses.ts';

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
