/**
 * The candidate tree that Medusa ships for 7-billion-parameter models ("mc_sim_7b_63") and the paper uses: 63 nodes
 * under the root, 42 leaves. Ranks are places in a head's list of likely tokens, 0 the most likely.
 */

/** Children per node: the path, then how many of the most likely tokens of the next head follow it. */
const branching: readonly (readonly [path: readonly number[], children: number])[] = [
  [[], 10],
  [[0], 10],
  [[1], 7],
  [[2], 3],
  [[3], 2],
  [[4], 1],
  [[5], 1],
  [[6], 1],
  [[7], 1],
  [[8], 1],
  [[9], 1],
  [[0, 0], 10],
  [[0, 1], 3],
  [[0, 2], 2],
  [[0, 3], 1],
  [[0, 4], 1],
  [[0, 5], 1],
  [[0, 6], 1],
  [[0, 7], 1],
  [[1, 0], 2],
  [[2, 0], 1],
  [[0, 0, 0], 2],
];

/** Its rank paths, in order of depth, then lexicographically: `treeFromPaths` makes the tree of them. */
export function stockTreePaths(): number[][] {
  return branching.flatMap(([path, children]) => Array.from({ length: children }, (_, rank) => [...path, rank]));
}

/** The paths that heads can fill: those no longer than there are heads, with ranks below the vocabulary. */
export function usablePaths(
  paths: readonly (readonly number[])[],
  heads: number,
  vocabulary: number,
): (readonly number[])[] {
  return paths.filter((path) => path.length <= heads && path.every((rank) => rank < vocabulary));
}
