/** Where the nodes of a tree go: a step to the right per depth, every parent in the middle of its children. */

export interface TreeLayout {
  /** Number of ancestors of every node. */
  readonly depths: readonly number[];
  /** Row of every node, from 0; halves where a parent lies between two children. */
  readonly rows: readonly number[];
  /** Number of rows, at least 1. */
  readonly height: number;
}

/**
 * Lays out a tree or forest; siblings keep their order.
 * @param parents of every node, -1 for a root; a parent comes before its children, anything else counts as a root
 */
export function layoutTree(parents: readonly number[]): TreeLayout {
  const depths: number[] = [];
  const children = parents.map((): number[] => []);
  for (const [node, parent] of parents.entries()) {
    const known = Number.isInteger(parent) && parent >= 0 && parent < node;
    depths.push(known ? depths[parent] + 1 : 0);
    if (known) children[parent].push(node);
  }
  const rows = parents.map(() => 0);
  let height = 0;
  // A stack instead of recursion: a conversation may be long.
  const stack = depths.flatMap((depth, node) => (depth === 0 ? [node] : [])).reverse();
  const open: number[] = [];
  while (stack.length > 0) {
    const node = stack[stack.length - 1];
    const own = children[node];
    if (own.length > 0 && open[open.length - 1] !== node) {
      open.push(node);
      stack.push(...own.toReversed());
      continue;
    }
    stack.pop();
    if (own.length === 0) {
      rows[node] = height++;
    } else {
      open.pop();
      rows[node] = (rows[own[0]] + rows[own[own.length - 1]]) / 2;
    }
  }
  return { depths, rows, height: Math.max(1, height) };
}
