/** Where the nodes of a tree go on paper: a row per depth, every parent over the middle of its children. */
import { hierarchy, tree as tidyTree } from 'd3-hierarchy';
import type { TokenTree } from '../../attention/tree.ts';

/** Where nodes are, in units of the distance between neighbours. */
export interface TreeLayout {
  /** Horizontal offset of every node [T], from 0. */
  readonly columns: Float64Array;
  /** The largest offset. */
  readonly width: number;
}

/** The parent of all roots, which is not drawn. */
const ABOVE_ROOTS = -1;

/** Lays out a tree or forest. Siblings keep the order of the nodes. */
export function layoutTree(tree: TokenTree): TreeLayout {
  const children = new Map<number, number[]>([[ABOVE_ROOTS, []]]);
  for (let node = 0; node < tree.size; node++) children.set(node, []);
  for (const [node, parent] of tree.parents.entries()) children.get(Math.max(parent, ABOVE_ROOTS))?.push(node);

  const arrange = tidyTree<number>()
    .nodeSize([1, 1])
    .separation(() => 1);
  const arranged = arrange(hierarchy(ABOVE_ROOTS, (node) => children.get(node)));
  const columns = new Float64Array(tree.size);
  for (const { data: node, x } of arranged.descendants()) if (node !== ABOVE_ROOTS) columns[node] = x;
  const leftmost = columns.reduce((least, column) => Math.min(least, column), Infinity);
  const shifted = columns.map((column) => column - leftmost);
  return { columns: shifted, width: shifted.reduce((widest, column) => Math.max(widest, column), 0) };
}
