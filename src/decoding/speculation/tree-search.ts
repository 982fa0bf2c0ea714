/**
 * Which candidate tree to verify. A tree is a set of rank paths; a step yields the root and then one token for every
 * node on the longest path that turns out right, so its expected yield is 1 + Σ P(path right) over the nodes.
 *
 * `greedyTree` and `dynamicTree` take heads for independent: P(r₁,…,r_ℓ) = Π a[i][rᵢ]. Where ranks fall with likelihood, both
 * find trees of the same yield, since the n likeliest paths are a tree; they differ where a rank is likelier than the one
 * before it, which happens in estimates from little text. `observedTree` counts whole paths in the calibration text.
 */
import { LinnetError } from '../../errors.ts';

/** Acceptance by head and rank [H][R]: the probability that the token of that rank is the right one. */
export type Acceptance = readonly (readonly number[])[];

/** Rank paths of a tree without its root. */
type RankPaths = readonly (readonly number[])[];

/**
 * Grows a tree as Medusa does (arXiv 2401.10774, section 2.3.3): always the likeliest node among the next sibling and the first
 * child of those there are.
 * @param nodes size without the root; fewer come back where no further path has any probability
 */
export function greedyTree(acceptance: Acceptance, nodes: number): number[][] {
  const candidate = (path: readonly number[]) => {
    return { path, probability: path.reduce((product, rank, depth) => product * (acceptance[depth]?.[rank] ?? 0), 1) };
  };
  const chosen: number[][] = [];
  const frontier = [candidate([0])];
  while (chosen.length < nodes) {
    let best = -1;
    for (let i = 0; i < frontier.length; i++) {
      if (frontier[i].probability > (frontier[best]?.probability ?? 0)) best = i;
    }
    if (best < 0) break;
    const [{ path }] = frontier.splice(best, 1);
    chosen.push([...path]);
    const sibling = [...path.slice(0, -1), path[path.length - 1] + 1];
    frontier.push(candidate(sibling), candidate([...path, 0]));
  }
  return chosen;
}

/**
 * The best tree of `nodes` nodes without the root, by dynamic programming over depth, nodes and ranks, as Sequoia (arXiv
 * 2402.12374, section 4.1), with the acceptance of every depth of its own.
 *
 * F(ℓ,n): best expected yield below an accepted node at depth ℓ, with n nodes to spend there. G(ℓ,r,n): the same with
 * children of ranks ≥ r only, either leaving rank r out or giving its child s − 1 of the nodes:
 *
 *     F(ℓ,n) = G(ℓ,0,n),  G(ℓ,r,n) = max( G(ℓ,r+1,n), max_s a[ℓ][r]·(1 + F(ℓ+1,s−1)) + G(ℓ,r+1,n−s) )
 *
 * O(H·R·n²) time. Fewer nodes come back where more would add nothing.
 */
export function dynamicTree(acceptance: Acceptance, nodes: number): number[][] {
  const heads = acceptance.length;
  // Below the deepest head there is nothing to gain; tables are filled from there upwards.
  let below = new Float64Array(nodes + 1);
  /** Per depth and rank: how many nodes the child of that rank gets, itself included, with n to spend from it on. */
  const spent: Int32Array[][] = new Array<Int32Array[]>(heads);
  for (let depth = heads - 1; depth >= 0; depth--) {
    const ranks = acceptance[depth].length;
    spent[depth] = new Array<Int32Array>(ranks);
    let rest = new Float64Array(nodes + 1);
    for (let rank = ranks - 1; rank >= 0; rank--) {
      const values = new Float64Array(nodes + 1);
      const choice = new Int32Array(nodes + 1);
      for (let n = 0; n <= nodes; n++) {
        values[n] = rest[n];
        for (let s = 1; s <= n; s++) {
          const value = acceptance[depth][rank] * (1 + below[s - 1]) + rest[n - s];
          if (value <= values[n]) continue;
          values[n] = value;
          choice[n] = s;
        }
      }
      spent[depth][rank] = choice;
      rest = values;
    }
    below = rest;
  }
  const paths: number[][] = [];
  const build = (prefix: readonly number[], count: number): void => {
    let left = count;
    for (const [rank, choice] of (spent[prefix.length] ?? []).entries()) {
      const s = choice[left];
      if (s === 0) continue;
      paths.push([...prefix, rank]);
      build([...prefix, rank], s - 1);
      left -= s;
    }
  };
  build([], nodes);
  return paths;
}

/** Observed ranks: [positions,H], −1 where the text had ended. */
export interface ObservedRanks {
  readonly heads: number;
  readonly positions: number;
  readonly ranks: Int32Array;
}

/**
 * The tree of the paths that were right most often, among ranks below `ranks`. A path is right wherever its beginning
 * is, so the most frequent paths are a tree, and no tree of that size would have yielded more on this text.
 */
export function observedTree(observed: ObservedRanks, nodes: number, ranks: number): number[][] {
  const { heads, positions } = observed;
  const counts = new Map<string, { path: number[]; count: number }>();
  for (let position = 0; position < positions; position++) {
    const path: number[] = [];
    for (let head = 0; head < heads; head++) {
      const rank = observed.ranks[position * heads + head];
      if (rank < 0 || rank >= ranks) break;
      path.push(rank);
      const key = path.join(',');
      const known = counts.get(key);
      if (known === undefined) counts.set(key, { path: [...path], count: 1 });
      else known.count++;
    }
  }
  // Among equals the shorter path first: a beginning is never rarer than what continues it.
  return [...counts.values()]
    .sort((a, b) => b.count - a.count || a.path.length - b.path.length || compareRanks(a.path, b.path))
    .slice(0, nodes)
    .map(({ path }) => path);
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((rank, i) => rank !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}

/** Mean yield of a tree on observed ranks, the root included: what greedy decoding of that text would have got per step. */
export function observedLength(paths: RankPaths, { heads, positions, ranks }: ObservedRanks): number {
  const inTree = new Set(paths.map((path) => path.join(',')));
  let total = positions;
  for (let position = 0; position < positions; position++) {
    let key = '';
    for (let head = 0; head < heads; head++) {
      const rank = ranks[position * heads + head];
      key = head === 0 ? String(rank) : `${key},${rank}`;
      if (rank < 0 || !inTree.has(key)) break;
      total++;
    }
  }
  return total / positions;
}

/** Measured time of verifying a tree. */
export interface StepTime {
  /** Nodes, the root included. */
  readonly nodes: number;
  /** Median time of the step in milliseconds. */
  readonly ms: number;
}

/**
 * Time of a step of any size, between measured sizes by a straight line, beyond the largest by the last line's slope.
 * @param times at least one, ascending in nodes
 */
export function interpolateStepTime(times: readonly StepTime[], nodes: number): number {
  if (times.length === 0) throw new LinnetError('INPUT', 'step times need at least one measurement');
  if (times.length === 1 || nodes <= times[0].nodes) return times[0].ms;
  let upper = times.findIndex((time) => time.nodes >= nodes);
  if (upper < 0) upper = times.length - 1;
  const [a, b] = [times[upper - 1], times[upper]];
  return a.ms + ((b.ms - a.ms) * (nodes - a.nodes)) / (b.nodes - a.nodes);
}

export const treeMethods = ['greedy', 'dynamic', 'observed'] as const;
type TreeMethod = (typeof treeMethods)[number];

/** The conditions that trees are compared under. */
export interface TreeConditions {
  /** Ranks of text that the trees were not found on. */
  readonly validation: ObservedRanks;
  /** Ascending in nodes. */
  readonly times: readonly StepTime[];
  /** Time of drafting, the same for every size. */
  readonly draftMs: number;
}

/** A tree that was considered. */
export interface RatedTree<Method extends string = string> {
  readonly method: Method;
  readonly paths: RankPaths;
  /** Nodes, the root included. */
  readonly nodes: number;
  readonly depth: number;
  /** Tokens per step on validation text. */
  readonly length: number;
  /** Verification and drafting. */
  readonly ms: number;
  readonly tokensPerSecond: number;
  /** Over one token a step. */
  readonly speedup: number;
}

export function rateTree<Method extends string>(
  method: Method,
  paths: RankPaths,
  { validation, times, draftMs }: TreeConditions,
): RatedTree<Method> {
  const nodes = paths.length + 1;
  const depth = Math.max(0, ...paths.map((steps) => steps.length));
  const length = observedLength(paths, validation);
  const ms = interpolateStepTime(times, nodes) + draftMs;
  const speedup = (length * interpolateStepTime(times, 1)) / ms;
  return { method, paths, nodes, depth, length, ms, tokensPerSecond: (1000 * length) / ms, speedup };
}

export interface TreeSearch extends TreeConditions {
  readonly acceptance: Acceptance;
  /** Ranks that trees are fitted to. */
  readonly calibration: ObservedRanks;
  /** Most nodes, the root included. */
  readonly mostNodes: number;
}

/** The best size for every method: the tree of most tokens per second on the validation text. */
export function searchTrees(search: TreeSearch): RatedTree<TreeMethod>[] {
  const { acceptance, calibration, mostNodes } = search;
  const ranks = Math.max(...acceptance.map((row) => row.length));
  const finders: Readonly<Record<TreeMethod, (nodes: number) => number[][]>> = {
    greedy: (nodes) => greedyTree(acceptance, nodes),
    dynamic: (nodes) => dynamicTree(acceptance, nodes),
    observed: (nodes) => observedTree(calibration, nodes, ranks),
  };
  return treeMethods.flatMap((method) => {
    let best: RatedTree<TreeMethod> | undefined;
    for (let nodes = 2; nodes <= mostNodes; nodes++) {
      const paths = finders[method](nodes - 1);
      if (paths.length < nodes - 1) break; // nothing more to gain
      const rated = rateTree(method, paths, search);
      if (best === undefined || rated.tokensPerSecond > best.tokensPerSecond) best = rated;
    }
    return best ?? [];
  });
}
