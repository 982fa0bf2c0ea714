/** Drafts while they are built: token paths share their common beginnings. */
import { chain, TokenTree } from '../../../attention/tree.ts';
import { LinnetError } from '../../../errors.ts';
import type { Draft } from './drafter.ts';

/** Above every token id, so that node and token form one key without collisions. */
const tokenRange = 2 ** 31;

/** Token paths below a root. Nodes are numbered in order of addition, parents before children. */
export class DraftTrie {
  readonly #parents: number[] = [-1];
  readonly #tokens: number[];
  readonly #childOf = new Map<number, number>();

  /** @param root node 0's token */
  constructor(root: number) {
    this.#tokens = [root];
  }

  /** Number of nodes, including the root. */
  get size(): number {
    return this.#tokens.length;
  }

  /** The child of `node` that holds `token`, if any. */
  find(node: number, token: number): number | undefined {
    return this.#childOf.get(node * tokenRange + token);
  }

  /** The child of `node` that holds `token`, added if missing. */
  add(node: number, token: number): number {
    const known = this.find(node, token);
    if (known !== undefined) return known;
    const child = this.size;
    this.#parents.push(node);
    this.#tokens.push(token);
    this.#childOf.set(node * tokenRange + token, child);
    return child;
  }

  toDraft(): Draft {
    return { tree: new TokenTree(this.#parents), tokens: Int32Array.from(this.#tokens) };
  }
}

/** A draft that guesses nothing. */
export function rootDraft(root: number): Draft {
  return { tree: chain(1), tokens: Int32Array.of(root) };
}

/**
 * The union of drafts with a common root. They take turns node by node, so that each keeps its likeliest nodes within the
 * bound.
 *
 * @param maxNodes bounds the union; at least 1
 * @throws LinnetError `INPUT` for no drafts, or different roots
 */
export function mergeDrafts(drafts: readonly Draft[], maxNodes: number): Draft {
  const roots = new Set(drafts.map(({ tokens }) => tokens[0]));
  const [root] = roots;
  if (roots.size !== 1) throw new LinnetError('INPUT', `drafts to merge have ${roots.size} roots, expected one`);
  const guessing = drafts.filter(({ tree }) => tree.size > 1);
  if (guessing.length === 1 && guessing[0].tree.size <= maxNodes) return guessing[0];
  const trie = new DraftTrie(root);
  const places = drafts.map(({ tree }) => new Int32Array(tree.size).fill(-1));
  for (const place of places) place[0] = 0;
  const longest = Math.max(...drafts.map(({ tree }) => tree.size));
  for (let node = 1; node < longest; node++) {
    for (const [index, { tree, tokens }] of drafts.entries()) {
      if (node >= tree.size) continue;
      const parent = places[index][tree.parents[node]];
      if (parent < 0) continue; // its parent exceeded the bound
      if (trie.size < maxNodes || trie.find(parent, tokens[node]) !== undefined) {
        places[index][node] = trie.add(parent, tokens[node]);
      }
    }
  }
  const source = (node: number): string => {
    const drafter = places.findIndex((place) => place.includes(node));
    return drafts[drafter].source?.(places[drafter].indexOf(node)) ?? '';
  };
  return { ...trie.toDraft(), source };
}

/**
 * Cuts off nodes below `maxDepth`, nodes that hold one of `ends` with everything below them (nothing follows a text's end,
 * and the end itself comes as the token after the last accepted node), and all but the first `maxNodes` and `maxPaths`.
 */
export function pruneDraft(
  draft: Draft,
  maxDepth: number,
  ends: Pick<ReadonlySet<number>, 'has'>,
  maxNodes = Number.POSITIVE_INFINITY,
  maxPaths = Number.POSITIVE_INFINITY,
): Draft {
  const { tree, tokens } = draft;
  const places = new Int32Array(tree.size).fill(-1);
  const nodes: number[] = [];
  const inner = new Set<number>();
  let paths = 1;
  for (let node = 0; node < tree.size; node++) {
    const parent = tree.parents[node];
    const branches = inner.has(parent) ? 1 : 0;
    const fits = nodes.length < maxNodes && paths + branches <= maxPaths && tree.depths[node] <= maxDepth;
    const wanted = node === 0 || (fits && places[parent] >= 0 && !ends.has(tokens[node]));
    if (!wanted) continue;
    places[node] = nodes.push(node) - 1;
    inner.add(parent);
    paths += branches;
  }
  if (nodes.length === tree.size) return draft;
  return {
    tree: new TokenTree(nodes.map((node) => (node === 0 ? -1 : places[tree.parents[node]]))),
    tokens: Int32Array.from(nodes, (node) => tokens[node]),
    source: draft.source && ((node) => draft.source?.(nodes[node]) ?? ''),
  };
}
