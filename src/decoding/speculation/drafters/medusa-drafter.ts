/**
 * Medusa: head ℓ guesses the ℓ-th token after the next one from the hidden state that predicted the next one (arXiv
 * 2401.10774). Its guesses fill a tree of fixed shape, whose paths say which head's which rank is worth a node.
 */
import { type RankTree, treeFromPaths } from '../../../attention/tree.ts';
import { LinnetError } from '../../../errors.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';
import { Chance, type DraftPlace, growingDrafter } from './growing-drafter.ts';

/** Trained heads, or anything that guesses from a hidden state. */
export interface HeadPredictions {
  /** Number of heads: the tree's maximum depth. */
  readonly count: number;
  /**
   * Each head's k likeliest tokens, likeliest first: [heads][k].
   * @param hidden [width]
   */
  topK(hidden: Float32Array, k: number): Promise<Int32Array[]>;
}

/**
 * Medusa's default tree of 63 paths ("mc_sim_7b_63"): for every listed parent, how many of the likeliest continuations have
 * a node.
 */
const stockBranches: Readonly<Record<string, number>> = {
  '': 10,
  '0': 10,
  '1': 7,
  '2': 3,
  '3': 2,
  '4': 1,
  '5': 1,
  '6': 1,
  '7': 1,
  '8': 1,
  '9': 1,
  '0,0': 10,
  '0,1': 3,
  '0,2': 2,
  '0,3': 1,
  '0,4': 1,
  '0,5': 1,
  '0,6': 1,
  '0,7': 1,
  '1,0': 2,
  '2,0': 1,
  '0,0,0': 2,
};

/**
 * The 63 rank paths of the default tree, made for a 7B model with four heads: 64 nodes with the root, 42 leaves.
 * @example
 * ```ts
 * const paths = defaultTreePaths();
 * ```
 */
export function defaultTreePaths(): number[][] {
  return Object.entries(stockBranches).flatMap(([parent, count]) =>
    Array.from({ length: count }, (_, rank) => [...(parent === '' ? [] : parent.split(',').map(Number)), rank]),
  );
}

/** Fills a tree of rank paths from heads. Keeps nothing between calls, so one can serve several texts. */
export class MedusaDrafter implements Drafter {
  readonly name = 'medusa';
  readonly #heads: HeadPredictions;
  readonly #ranked: RankTree;
  readonly #ranks: number;

  /**
   * @param paths rank paths; default: the default tree's paths that are no deeper than the number of heads
   * @throws LinnetError `CONFIG` for paths deeper than the number of heads; `INPUT` like `treeFromPaths`
   */
  constructor(heads: HeadPredictions, paths?: readonly (readonly number[])[]) {
    const chosen = paths ?? defaultTreePaths().filter((path) => path.length <= heads.count);
    const ranked = treeFromPaths(chosen);
    if (ranked.tree.height > heads.count) {
      throw new LinnetError(
        'CONFIG',
        `the tree is ${ranked.tree.height} deep, and there are ${heads.count} heads; shorten its paths`,
      );
    }
    this.#heads = heads;
    this.#ranked = ranked;
    this.#ranks = 1 + Math.max(0, ...chosen.flat());
  }

  /** The shape of all drafts, and each node's rank path. */
  get ranked(): RankTree {
    return this.#ranked;
  }

  async propose({ root, hidden }: DraftContext): Promise<Draft> {
    const { tree, paths } = this.#ranked;
    const guesses = await this.#heads.topK(hidden, this.#ranks);
    const tokens = Int32Array.from(paths, (path) =>
      path.length === 0 ? root : guesses[path.length - 1][path[path.length - 1]],
    );
    return { tree, tokens };
  }
}

/** Most nodes in a growing tree. */
const mostNodes = 64;
/** Chances that a head's likeliest guesses come true, until measured. */
const assumedChances = [0.5, 0.12, 0.06, 0.04, 0.03, 0.025, 0.02, 0.02, 0.02, 0.02];

/**
 * Drafters for one text each. Their trees grow to the size that yields the most tokens per second, by how often each head's
 * guess at each rank has come true in all their texts.
 * @param paths of a fixed tree instead
 * @example
 * ```ts
 * const start = medusaDrafters(heads);
 * const method = speculative(start());
 * ```
 */
export function medusaDrafters(heads: HeadPredictions, paths?: readonly (readonly number[])[]): () => Drafter {
  if (paths !== undefined) return () => new MedusaDrafter(heads, paths);
  const chances = Array.from({ length: heads.count }, () => assumedChances.map((value) => new Chance(value)));
  return () => {
    let guesses: readonly Int32Array[] = [];
    const placeOf = (head: number): DraftPlace => ({
      guesses: Array.from(guesses.at(head) ?? [], (token, rank) => ({
        token,
        share: 1,
        chance: chances[head][rank],
        source: 'medusa',
      })),
      after: () => placeOf(head + 1),
    });
    const grown = growingDrafter('medusa', [{ begin: () => placeOf(0) }], mostNodes);
    return {
      ...grown,
      async propose(context) {
        guesses = await heads.topK(context.hidden, assumedChances.length);
        return await grown.propose(context);
      },
    };
  };
}
