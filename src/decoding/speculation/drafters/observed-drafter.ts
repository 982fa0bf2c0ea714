/**
 * How often the guesses of a drafter are accepted, by their place in the tree. Where trees change shape from round to
 * round, as those of prompt lookup, numbers of nodes mean nothing, but ranks do: a node is the r-th guess under its
 * parent in every tree.
 */
import type { TokenTree } from '../../../attention/tree.ts';
import type { Draft, DraftContext, Drafter, ReadDraft } from './drafter.ts';

/** Counts of the nodes at one place. */
export interface PathAcceptance {
  /** Rank path, as in `treeFromPaths`: the rank of every ancestor among its siblings, and the node's own. Not empty. */
  readonly path: readonly number[];
  /** Drafts that had a node there. */
  readonly offered: number;
  /** Those of them in which it became text. */
  readonly accepted: number;
}

/** Passes on the drafts of a drafter, and counts their acceptance. */
export class ObservedDrafter implements Drafter {
  readonly name: string;
  readonly #drafter: Drafter;
  readonly #counts = new Map<string, { path: readonly number[]; offered: number; accepted: number }>();
  #draft: { readonly draft: Draft; readonly paths: readonly (readonly number[])[] } | undefined;

  constructor(drafter: Drafter) {
    this.name = drafter.name;
    this.#drafter = drafter;
  }

  async propose(context: DraftContext): Promise<Draft> {
    const draft = await this.#drafter.propose(context);
    const paths = rankPaths(draft.tree);
    for (const path of paths) {
      // Deeper nodes are cut off before the model reads them.
      if (path.length > 0 && path.length <= context.maxDepth) this.#count(path).offered++;
    }
    this.#draft = { draft, paths };
    return draft;
  }

  async accepted(tokens: readonly number[], read: ReadDraft): Promise<void> {
    if (this.#draft !== undefined) {
      const { draft, paths } = this.#draft;
      this.#draft = undefined;
      let node = 0;
      // The last token is the model's own, after the last accepted node.
      for (const token of tokens.slice(0, -1)) {
        node = draft.tree.parents.findIndex((parent, child) => parent === node && draft.tokens[child] === token);
        if (node < 0) break;
        this.#count(paths[node]).accepted++;
      }
    }
    await this.#drafter.accepted?.(tokens, read);
  }

  ended(): void {
    this.#drafter.ended?.();
  }

  /** The places so far, those offered most often first; a place never comes before its parent. */
  get acceptance(): PathAcceptance[] {
    return sumAcceptance([[...this.#counts.values()]]);
  }

  #count(path: readonly number[]): { offered: number; accepted: number } {
    const key = path.join(',');
    const known = this.#counts.get(key);
    if (known !== undefined) return known;
    const fresh = { path, offered: 0, accepted: 0 };
    this.#counts.set(key, fresh);
    return fresh;
  }
}

/** Rank path of every node [T]: children of a node are ranked in the order of the nodes. */
function rankPaths({ parents }: TokenTree): (readonly number[])[] {
  const paths: (readonly number[])[] = [];
  const children = new Int32Array(parents.length);
  for (const parent of parents) paths.push(parent < 0 ? [] : [...paths[parent], children[parent]++]);
  return paths;
}

/**
 * Adds up the counts of several texts, in the order of `ObservedDrafter.acceptance`.
 * @example
 * ```ts
 * const total = sumAcceptance(all);
 * ```
 */
export function sumAcceptance(all: readonly (readonly PathAcceptance[])[]): PathAcceptance[] {
  const sums = new Map<string, PathAcceptance>();
  for (const { path, offered, accepted } of all.flat()) {
    const key = path.join(',');
    const sum = sums.get(key) ?? { path, offered: 0, accepted: 0 };
    sums.set(key, { path, offered: sum.offered + offered, accepted: sum.accepted + accepted });
  }
  return [...sums.values()].sort((a, b) => b.offered - a.offered || a.path.length - b.path.length);
}
