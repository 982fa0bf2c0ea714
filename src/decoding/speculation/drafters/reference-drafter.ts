/** Drafts from a text known beforehand, right as often as requested: measures verification apart from any drafter's quality. */
import { type RankTree, treeFromPaths } from '../../../attention/tree.ts';
import { LinnetError } from '../../../errors.ts';
import { Random } from '../../../random.ts';
import type { Draft, DraftContext, Drafter } from './drafter.ts';
import { defaultTreePaths } from './medusa-drafter.ts';

/** How much of the reference each draft proposes. */
export interface ReferenceOptions {
  /** Rank paths of the tree. Default: Medusa's default tree. */
  readonly paths?: readonly (readonly number[])[];
  /** Chance that the true token has a rank, given that no better rank has it. Default 0.6. */
  readonly hitRate?: number;
  /** Default 0. */
  readonly seed?: number;
}

/** Fills a tree with one true path, as far as luck goes, and random tokens. */
export class ReferenceDrafter implements Drafter {
  readonly name = 'reference';
  readonly #text: ArrayLike<number>;
  readonly #vocabulary: number;
  readonly #ranked: RankTree;
  readonly #hitRate: number;
  readonly #random: Random;

  /**
   * @param text the prompt and the continuation to find; beyond its end all guesses are random
   * @param vocabulary at least 2; more than any node's children. The default tree is cut to fit
   * @throws LinnetError `CONFIG` for a hit rate outside 0…1, or a tree with too many children at one node
   */
  constructor(text: ArrayLike<number>, vocabulary: number, options: ReferenceOptions = {}) {
    const {
      paths = defaultTreePaths().filter((path) => path.every((rank) => rank < vocabulary - 1)),
      hitRate = 0.6,
      seed = 0,
    } = options;
    if (!(hitRate >= 0 && hitRate <= 1)) {
      throw new LinnetError('CONFIG', `the hit rate is ${hitRate}, expected a number in 0…1`);
    }
    this.#text = text;
    this.#vocabulary = vocabulary;
    this.#ranked = treeFromPaths(paths);
    this.#hitRate = hitRate;
    this.#random = new Random(seed);
    const { parents } = this.#ranked.tree;
    const widest = Math.max(...parents.map((parent) => parents.filter((other) => other === parent).length));
    if (widest >= vocabulary) {
      throw new LinnetError(
        'CONFIG',
        `a node of the tree has ${widest} children; with ${vocabulary} tokens there can be ${vocabulary - 1} wrong ones`,
      );
    }
  }

  propose({ tokens: text, root }: DraftContext): Promise<Draft> {
    const { tree } = this.#ranked;
    const tokens = new Int32Array(tree.size);
    tokens[0] = root;
    let truth = 0; // the true path's last node so far
    const used = Array.from({ length: tree.size }, () => new Set<number>());
    for (let node = 1; node < tree.size; node++) {
      const parent = tree.parents[node];
      const place = text.length + tree.depths[node] - 1;
      const wanted = parent === truth && place < this.#text.length ? this.#text[place] : undefined;
      const hit = wanted !== undefined && !used[parent].has(wanted) && this.#random.uniform() < this.#hitRate;
      if (hit) truth = node;
      tokens[node] = hit ? wanted : this.#wrongToken(used[parent], wanted);
      used[parent].add(tokens[node]);
    }
    return Promise.resolve({ tree, tokens });
  }

  #wrongToken(used: ReadonlySet<number>, right: number | undefined): number {
    for (;;) {
      const token = this.#random.integer(this.#vocabulary);
      if (token !== right && !used.has(token)) return token;
    }
  }
}
