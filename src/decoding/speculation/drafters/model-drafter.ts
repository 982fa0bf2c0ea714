/**
 * A smaller model as the drafter. It reads the text as it grows, each token once, and guesses level by level: its own
 * nodes are read as a tree on top of its state, so that no guess ever has to be taken back.
 */
import { logSumExp } from '../../log-sum-exp.ts';
import { TokenTree } from '../../../attention/tree.ts';
import { LinnetError } from '../../../errors.ts';
import { requireCount } from '../../../files/arguments.ts';
import { largest } from '../../../graph/largest.ts';
import type { StepEngine, StepOutput, StepRequest } from '../../step-engine.ts';
import type { SequenceState } from '../../state/sequence-state.ts';
import { rootDraft } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';

/** How far the smaller model drafts. */
export interface ModelDrafterOptions {
  /** Tokens guessed ahead; the draft model runs this many times a round. Default 4. */
  readonly depth?: number;
  /** Nodes per level, taken from the likeliest paths. 1 is a greedy chain. Default 1. */
  readonly width?: number;
}

/** A node below the root, as it is found. */
interface Guess {
  readonly token: number;
  /** Index of its parent among the guesses, −1 for the root. */
  readonly parent: number;
  /** ln p of its path. */
  readonly score: number;
}

/** Drafts with a model of the same vocabulary. The engine stays the caller's, and can serve several drafters. */
export class ModelDrafter implements Drafter {
  readonly name = 'draft';
  readonly #engine: StepEngine;
  readonly #state: SequenceState;
  readonly #depth: number;
  readonly #width: number;
  /** The last run over guesses: rows of those that come true are taken from it. */
  #lastRun: { readonly request: StepRequest; readonly output: StepOutput } | undefined;

  /**
   * @param engine of the draft model
   * @param vocabulary of the model that verifies
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
    for (const [name, value] of Object.entries({ depth, width })) {
      requireCount(value, `${name} of the draft`, 1, 'CONFIG');
    }
    this.#engine = engine;
    this.#state = engine.newState();
    this.#depth = depth;
    this.#width = width;
  }

  async propose({ tokens, root, maxDepth }: DraftContext): Promise<Draft> {
    const depth = Math.min(this.#depth, maxDepth);
    if (depth === 0) return rootDraft(root);
    await this.#takeInGuesses(tokens);
    // The first time this is the prompt, later a few tokens a round.
    const weights = this.#state.length === 0 ? 'prompt' : 'step';
    const { logits } = await this.#engine.prefill(this.#state, tokens.slice(this.#state.length), { weights });
    const guesses = this.#likeliest([{ logits, parent: -1, score: 0 }]);
    let first = 0; // of the last level
    for (let level = 1; level < depth; level++) {
      const wanted = Array.from({ length: guesses.length - first }, (_, i) => first + i);
      const request: StepRequest = {
        state: this.#state,
        tree: new TokenTree(guesses.map(({ parent }) => parent)), // on top of the root, which has been read
        tokens: guesses.map(({ token }) => token),
        wanted,
      };
      const [output] = await this.#engine.step([request]);
      this.#lastRun = { request, output };
      first = guesses.length;
      guesses.push(
        ...this.#likeliest(
          wanted.map((parent, i) => ({ logits: output.logits[i], parent, score: guesses[parent].score })),
        ),
      );
    }
    return {
      tree: new TokenTree([-1, ...guesses.map(({ parent }) => parent + 1)]),
      tokens: Int32Array.of(root, ...guesses.map(({ token }) => token)),
    };
  }

  /** Commits the last guesses that the text took; at least the new root remains to be read. */
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

  /** The best continuations of the nodes of a level, in order of their paths' probability. */
  #likeliest(
    nodes: readonly { readonly logits: Float32Array; readonly parent: number; readonly score: number }[],
  ): Guess[] {
    const guesses = nodes.flatMap(({ logits, parent, score }) => {
      const total = this.#width === 1 ? 0 : logSumExp(logits); // of a chain only the order counts
      const tokens = largest(logits, this.#width);
      return Array.from(tokens, (token) => ({ token, parent, score: score + logits[token] - total }));
    });
    return guesses.sort((a, b) => b.score - a.score).slice(0, this.#width);
  }
}
