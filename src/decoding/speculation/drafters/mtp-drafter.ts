/**
 * The model's multi-token-prediction layer as the drafter: it reads each of the text's hidden states together with the
 * token chosen from it, and for deeper guesses its own hidden states.
 */
import { chain } from '../../../attention/tree.ts';
import type { StepEngine } from '../../step-engine.ts';
import type { SequenceState } from '../../state/sequence-state.ts';
import { rootDraft } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter, ReadDraft } from './drafter.ts';
import { type GuessBounds, guessTree, requireGuessBounds } from './guess-tree.ts';

/** Most pairs waiting to be read: rounds may pass without a draft. */
const mostWaiting = 64;
/** Most positions in the layer's cache, which then starts over. */
const mostPositions = 4096;

/** A token, and the hidden state that chose it [width]. */
interface Pair {
  readonly token: number;
  readonly before: Float32Array;
}

/** Drafts one text with the layer of `mtpStepModel`. The engine remains the caller's, and can serve several drafters. */
export class MtpDrafter implements Drafter {
  readonly name = 'mtp';
  readonly reads = mostWaiting;
  readonly #engine: StepEngine;
  readonly #bounds: GuessBounds;
  #state: SequenceState;
  #waiting: Pair[] = [];

  /**
   * @param bounds default: a chain of 3 tokens with a joint probability of at least 0.3; `width` above 1 makes a tree of
   *   the likeliest paths
   * @throws LinnetError `CONFIG` for a depth or width that is not a whole number ≥ 1
   */
  constructor(engine: StepEngine, { depth = 3, width = 1, least = 0.3 }: Partial<GuessBounds> = {}) {
    this.#engine = engine;
    this.#state = engine.newState();
    this.#bounds = requireGuessBounds({ depth, width, least });
  }

  read(tokens: readonly number[], before: readonly Float32Array[]): void {
    this.#begin(tokens.map((token, i) => ({ token, before: before[i] })));
  }

  async propose({ root, hidden, maxDepth }: DraftContext): Promise<Draft> {
    if (this.#waiting.at(-1)?.token !== root) this.#begin([{ token: root, before: hidden.slice() }]);
    const depth = Math.min(this.#bounds.depth, maxDepth);
    if (depth === 0) return rootDraft(root);
    const read = this.#waiting;
    if (this.#state.length + read.length > mostPositions) this.#begin(read);
    const request = {
      state: this.#state,
      tree: chain(read.length),
      tokens: read.map(({ token }) => token),
      wanted: [read.length - 1],
      before: read.map(({ before }) => before),
    };
    const [output] = await this.#engine.step([request]);
    await this.#engine.commit(request, output, [...read.keys()]);
    this.#waiting = [];
    const start = { logits: output.logits[0], hidden: output.hidden[0] };
    const { draft } = await guessTree(this.#engine, this.#state, root, start, { ...this.#bounds, depth });
    return draft;
  }

  accepted(tokens: readonly number[], { path, hidden }: ReadDraft): void {
    this.#waiting.push(...tokens.map((token, i) => ({ token, before: hidden[path[i]].slice() })));
    if (this.#waiting.length > mostWaiting) this.#begin(this.#waiting.slice(-mostWaiting));
  }

  /** Starts the cache over with pairs that would leave a gap in it. */
  #begin(pairs: Pair[]): void {
    this.#waiting = pairs;
    this.#state = this.#engine.newState();
  }
}
