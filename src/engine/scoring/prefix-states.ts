/** States that have read the beginning of many requests, such as the examples of a task. */
import type { StepEngine, StepWeights } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';

/** States that are kept: one for the task under way, and one of another kind of request. */
const keptStates = 2;

interface KeptState {
  readonly tokens: readonly number[];
  readonly weights: StepWeights;
  /** Only read: forks go on. */
  readonly state: SequenceState;
}

/** Reads prefixes once. */
export class PrefixStates {
  readonly #engine: StepEngine;
  /** The latest first. */
  #kept: KeptState[] = [];
  /** Tokens that were read. */
  tokensRead = 0;

  constructor(engine: StepEngine) {
    this.#engine = engine;
  }

  /**
   * A state that has read exactly these tokens. It is shared: fork it before anything is committed to it.
   * @throws LinnetError `ABORTED` when the signal fires between two chunks
   */
  async after(tokens: readonly number[], weights: StepWeights, signal?: AbortSignal): Promise<SequenceState> {
    if (tokens.length === 0) return this.#engine.newState();
    const best = this.#longest(tokens, weights);
    if (best?.tokens.length === tokens.length) return best.state;
    const state = best === undefined ? this.#engine.newState() : best.state.fork();
    const rest = tokens.slice(best?.tokens.length ?? 0);
    await this.#engine.prefill(state, rest, { weights, signal });
    this.tokensRead += rest.length;
    this.#kept = [{ tokens, weights, state }, ...this.#kept].slice(0, keptStates);
    return state;
  }

  #longest(tokens: readonly number[], weights: StepWeights): KeptState | undefined {
    const fitting = this.#kept.filter(
      (kept) =>
        kept.weights === weights &&
        kept.tokens.length <= tokens.length &&
        kept.tokens.every((token, index) => token === tokens[index]),
    );
    return fitting.sort((a, b) => b.tokens.length - a.tokens.length)[0];
  }
}
