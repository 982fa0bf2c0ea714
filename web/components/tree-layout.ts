/** Positions of the nodes of a tree, by d3-hierarchy: a level per depth, every parent over the middle of its children. */
import { hierarchy, tree } from 'd3-hierarchy';

export interface TreeLayout {
  /** Number of ancestors of every node. */
  readonly depths: readonly number[];
  /** Place of every node within its level, from 0, in units of the distance between neighbours. */
  readonly columns: readonly number[];
  /** The largest place. */
  readonly width: number;
}

/** The undrawn parent of all roots. */
const aboveRoots = -1;

/**
 * Lays out a tree or forest; siblings keep their order.
 * @param parents each node's parent, -1 for a root; parents come before their children, anything else counts as a root
 */
export function layoutTree(parents: ArrayLike<number>): TreeLayout {
  const children = new Map<number, number[]>([[aboveRoots, []]]);
  for (let node = 0; node < parents.length; node++) {
    const parent = parents[node] < node && children.has(parents[node]) ? parents[node] : aboveRoots;
    children.get(parent)?.push(node);
    children.set(node, []);
  }
  const arrange = tree<number>()
    .nodeSize([1, 1])
    .separation(() => 1);
  const arranged = arrange(hierarchy(aboveRoots, (node) => children.get(node)));
  const depths = Array.from(parents, () => 0);
  const columns = Array.from(parents, () => 0);
  for (const { data: node, x, depth } of arranged.descendants()) {
    if (node === aboveRoots) continue;
    depths[node] = depth - 1;
    columns[node] = x;
  }
  const leftmost = columns.reduce((least, column) => Math.min(least, column), Infinity);
  const placed = columns.map((column) => column - leftmost);
  return { depths, columns: placed, width: placed.reduce((most, column) => Math.max(most, column), 0) };
}
