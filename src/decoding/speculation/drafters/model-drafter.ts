/**
 * A smaller model as the drafter. It reads each token of the growing text once, and guesses level by level: it reads its
 * own guesses as a tree on top of its state, so that none ever has to be undone.
 */
import { LinnetError } from '../../../errors.ts';
import type { StepEngine } from '../../step-engine.ts';
import type { SequenceState } from '../../state/sequence-state.ts';
import { rootDraft } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';
import { type GuessBounds, type GuessRun, guessTree, requireGuessBounds } from './guess-tree.ts';

/** How far the smaller model drafts. */
export interface ModelDrafterOptions {
  /** Tokens guessed ahead; the draft model runs this many times per round. Default 4. */
  readonly depth?: number;
  /** Nodes per level, from the likeliest paths. 1 is a greedy chain. Default 1. */
  readonly width?: number;
}

/** Drafts with a model that shares the vocabulary. The engine remains the caller's, and can serve several drafters. */
export class ModelDrafter implements Drafter {
  readonly name = 'draft';
  readonly #engine: StepEngine;
  readonly #state: SequenceState;
  readonly #bounds: GuessBounds;
  /** The last run over guesses, which supplies the rows of those that come true. */
  #lastRun: GuessRun | undefined;

  /**
   * @param engine the draft model's
   * @param vocabulary the verifying model's
   * @throws LinnetError `MISMATCH` for another vocabulary; `CONFIG` for a depth or width that is not a whole number ≥ 1
   */
  constructor(engine: StepEngine, vocabulary: number, { depth = 4, width = 1 }: ModelDrafterOptions = {}) {
    const known = engine.model.sizes.vocabulary;
    if (known !== vocabulary) {
      throw new LinnetError(
        'MISMATCH',
        `the draft model has a vocabulary of ${known}, the model of ${vocabulary}; they must share a tokenizer`,
      );
    }
    this.#engine = engine;
    this.#state = engine.newState();
    this.#bounds = requireGuessBounds({ depth, width });
  }

  async propose({ tokens, root, maxDepth }: DraftContext): Promise<Draft> {
    const depth = Math.min(this.#bounds.depth, maxDepth);
    if (depth === 0) return rootDraft(root);
    await this.#takeInGuesses(tokens);
    // The first time this reads the prompt, later a few tokens per round.
    const weights = this.#state.length === 0 ? 'prompt' : 'step';
    const start = await this.#engine.prefill(this.#state, tokens.slice(this.#state.length), { weights });
    const bounds = { ...this.#bounds, depth };
    const { draft, lastRun } = await guessTree(this.#engine, this.#state, root, start, bounds);
    this.#lastRun = lastRun;
    return draft;
  }

  /** Commits the last guesses that the text took; at least the new root remains to read. */
  async #takeInGuesses(tokens: readonly number[]): Promise<void> {
    if (this.#lastRun === undefined) return;
    const { request, output } = this.#lastRun;
    this.#lastRun = undefined;
    const path: number[] = [];
    for (let at = this.#state.length; at < tokens.length - 1; at++) {
      const parent = path.at(-1) ?? -1;
      const node = request.tree.parents.findIndex(
        (candidate, index) => candidate === parent && request.tokens[index] === tokens[at],
      );
      if (node < 0) break;
      path.push(node);
    }
    await this.#engine.commit(request, output, path);
  }
}
