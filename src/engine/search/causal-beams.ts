/**
 * Beam search with a model: hypotheses are states of an engine, forked where several go on from one, and a step
 * reads a token of every hypothesis. Of a linearized model a fork costs the same after any text.
 */
import { type BeamOptions, type BeamScorer, beamSearch, type Hypothesis } from './beam-search.ts';
import { hypothesisRequests } from './hypotheses.ts';
import { eventLoopTurn } from '../../decoding/event-loop.ts';
import { promptOf } from '../prompt.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';

/** As `BeamOptions`; the end tokens are those of the model. */
export interface ContinueOptions extends Omit<BeamOptions, 'eosIds'> {
  /** Takes EOS for any other token. Default false. */
  readonly ignoreEos?: boolean;
  /** The text that is read before each prompt is continued, in encoder-decoder models. */
  readonly sources?: readonly ArrayLike<number>[];
}

/**
 * The best continuations of each of several prompts by beam search, best first.
 * @param prompts token ids, as `GenerateOptions.promptTokens`
 * @param beams W, hypotheses of each
 * @throws LinnetError `INPUT` for an empty prompt of a model without BOS, for tokens outside the vocabulary, and as
 *   `beamSearch`; `ABORTED` when the signal fires
 * @example
 * ```ts
 * const found = await continueByBeams(engine, prompts, beams, options);
 * ```
 */
export async function continueByBeams(
  engine: StepEngine,
  prompts: readonly ArrayLike<number>[],
  beams: number,
  options: ContinueOptions,
): Promise<Hypothesis[][]> {
  const scorer = new EngineScorer(engine, prompts, beams, options);
  return beamSearch(scorer, { ...options, eosIds: options.ignoreEos === true ? [] : engine.model.eosIds });
}

class EngineScorer implements BeamScorer {
  readonly texts: number;
  readonly beams: number;
  readonly #engine: StepEngine;
  readonly #prompts: readonly number[][];
  readonly #options: ContinueOptions;
  /** Of each hypothesis; equal hypotheses share one. */
  #states: readonly SequenceState[] = [];

  constructor(engine: StepEngine, prompts: readonly ArrayLike<number>[], beams: number, options: ContinueOptions) {
    this.texts = prompts.length;
    this.beams = beams;
    this.#engine = engine;
    this.#prompts = prompts.map((prompt) => promptOf(engine.model, prompt));
    this.#options = options;
  }

  async first(): Promise<Float32Array[]> {
    const read: SequenceState[] = [];
    const logits: Float32Array[] = [];
    const { sources, signal } = this.#options;
    for (const [text, prompt] of this.#prompts.entries()) {
      const encoded = sources === undefined ? undefined : await this.#engine.encode(sources[text] ?? []);
      const state = this.#engine.newState(encoded);
      logits.push((await this.#engine.prefill(state, prompt, { signal })).logits);
      read.push(state);
    }
    this.#states = read.flatMap((state) => Array.from({ length: this.beams }, () => state));
    return logits;
  }

  async next(
    _texts: readonly number[],
    parents: readonly number[],
    tokens: readonly number[],
  ): Promise<Float32Array[]> {
    await eventLoopTurn();
    const { requests, places } = hypothesisRequests(this.#states, parents, tokens);
    const outputs = await this.#engine.step(requests);
    for (const [i, request] of requests.entries()) await this.#engine.commit(request, outputs[i], [0]);
    this.#states = places.map((place) => requests[place].state);
    return places.map((place) => outputs[place].logits[0]);
  }
}
