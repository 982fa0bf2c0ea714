/**
 * Token trees: the input of one step of a model. A node continues its parent, and sees its ancestors and itself; a node
 * without a parent continues the committed text. A prompt chunk is a chain, a decode step one node, and speculative
 * candidates a tree: one notion serves all three.
 */
import { LinnetError } from '../errors.ts';

/** Largest number of nodes: the ancestor matrix takes its square in bytes. */
export const maxTreeNodes = 8192;

/** A tree (or forest) of T nodes in topological order: a parent comes before its children. Immutable. */
export class TokenTree {
  /** T. */
  readonly size: number;
  /** Parent of every node [T]; −1 for a root. */
  readonly parents: Int32Array;
  /** Number of ancestors of every node [T]; 0 for a root. */
  readonly depths: Int32Array;
  /** Visibility [T,T]: 1 if the column's node is the row's node or its ancestor, else 0. */
  readonly ancestors: Uint8Array;

  /**
   * @param parents each node's parent, an earlier node; −1 for a root. Several roots are allowed.
   * @throws LinnetError `INPUT` for an empty or too large tree, or a parent that is not −1 or an earlier node.
   */
  constructor(parents: ArrayLike<number>) {
    const size = parents.length;
    if (size === 0) throw new LinnetError('INPUT', 'a token tree needs at least one node, got none');
    if (size > maxTreeNodes) {
      throw new LinnetError('INPUT', `a token tree of ${size} nodes is over the limit of ${maxTreeNodes}; use chunks`);
    }
    this.size = size;
    this.parents = new Int32Array(size);
    this.depths = new Int32Array(size);
    this.ancestors = new Uint8Array(size * size);
    for (let node = 0; node < size; node++) {
      const parent = parents[node] ?? Number.NaN;
      if (!Number.isInteger(parent) || parent < -1 || parent >= node) {
        throw new LinnetError(
          'INPUT',
          `node ${node} of a token tree has parent ${parent}; expected -1 for a root, or an earlier node`,
        );
      }
      this.parents[node] = parent;
      if (parent >= 0) {
        this.depths[node] = this.depths[parent] + 1;
        // The parent's ancestors are all among the first parent + 1 nodes.
        this.ancestors.copyWithin(node * size, parent * size, parent * size + parent + 1);
      }
      this.ancestors[node * size + node] = 1;
    }
  }

  /** Whether `other` is `node` or its ancestor. False for indices outside. */
  isAncestorOrSelf(node: number, other: number): boolean {
    // The bounds matter: a column outside would read the neighboring row.
    return other >= 0 && other < this.size && this.ancestors[node * this.size + other] === 1;
  }

  /** Nodes without children, in increasing order. */
  leaves(): number[] {
    const parents = new Set(this.parents);
    return [...this.parents.keys()].filter((node) => !parents.has(node));
  }

  /** The nodes from the root down to `node`, inclusive. @throws LinnetError `INPUT` if there is no such node. */
  pathTo(node: number): number[] {
    if (!Number.isInteger(node) || node < 0 || node >= this.size) {
      throw new LinnetError('INPUT', `a token tree of ${this.size} nodes has no node ${node}`);
    }
    const path: number[] = [];
    for (let at = node; at >= 0; at = this.parents[at]) path.push(at);
    return path.reverse();
  }

  /** The largest depth. */
  get height(): number {
    let height = 0;
    for (const depth of this.depths) if (depth > height) height = depth;
    return height;
  }
}

const chains = new Map<number, TokenTree>();

/** A tree without branches: `length` nodes, each the parent of the next. Made once per length. */
export function chain(length: number): TokenTree {
  const known = chains.get(length);
  if (known !== undefined) return known;
  if (!Number.isInteger(length) || length < 1) {
    throw new LinnetError('INPUT', `a chain needs a whole number of nodes, at least 1; got ${length}`);
  }
  const made = new TokenTree(Int32Array.from({ length }, (_, node) => node - 1));
  chains.set(length, made);
  return made;
}

/** A candidate tree by ranks, in Medusa's notation. */
export interface RankTree {
  readonly tree: TokenTree;
  /**
   * Each node's rank path; the root's, `paths[0]`, is empty. The node of path [r₁,…,r_ℓ] holds the candidate of rank r_ℓ (0
   * = most likely) of head ℓ, under the node of [r₁,…,r_{ℓ−1}].
   */
  readonly paths: readonly (readonly number[])[];
}

function comparePaths(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return a.length - b.length;
  for (const [i, rank] of a.entries()) {
    const difference = rank - b[i];
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Makes a tree from a set of rank paths. Node 0 is the root (not in the list); the others follow by depth, then
 * lexicographically, as in Medusa.
 * @param paths non-empty rank paths in any order; every proper prefix of a path must be listed too.
 * @throws LinnetError `INPUT` for an empty path, a rank that is not a whole number ≥ 0, a duplicate or a missing prefix.
 */
export function treeFromPaths(paths: readonly (readonly number[])[]): RankTree {
  const sorted: (readonly number[])[] = [[], ...paths.map((path) => [...path]).sort(comparePaths)];
  const nodeOf = new Map<string, number>([['', 0]]);
  const parents = [-1];
  for (const [node, path] of sorted.entries()) {
    if (node === 0) continue;
    const key = path.join(',');
    const shown = `[${key}]`;
    if (path.length === 0) throw new LinnetError('INPUT', 'an empty rank path stands for the root, which is implied');
    if (!path.every((rank) => Number.isInteger(rank) && rank >= 0)) {
      throw new LinnetError('INPUT', `rank path ${shown}: ranks are whole numbers from 0`);
    }
    if (nodeOf.has(key)) throw new LinnetError('INPUT', `rank path ${shown} is listed twice`);
    const prefix = path.slice(0, -1).join(',');
    const parent = nodeOf.get(prefix);
    if (parent === undefined) {
      throw new LinnetError('INPUT', `rank path ${shown} continues [${prefix}], which is not listed`);
    }
    nodeOf.set(key, node);
    parents.push(parent);
  }
  return { tree: new TokenTree(parents), paths: sorted };
}
