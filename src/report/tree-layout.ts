/**
 * Places of the nodes of a tree on paper: a row per depth, every parent over the middle of its children, subtrees moved
 * together until they touch (after Reingold and Tilford, "Tidier drawings of trees", 1981).
 */
import type { TokenTree } from '../attention/tree.ts';

/** Where nodes are, in units of the distance between neighbours. */
export interface TreeLayout {
  /** Horizontal place of every node [T], from 0. */
  readonly columns: Float64Array;
  /** The largest place. */
  readonly width: number;
}

/** Outline of a subtree: the leftmost and rightmost places at each depth below its top, relative to the top. */
interface Outline {
  readonly left: number[];
  readonly right: number[];
}

/** Lays out a tree or forest. Siblings keep the order of the nodes. */
export function layoutTree(tree: TokenTree): TreeLayout {
  const children: number[][] = Array.from({ length: tree.size }, () => []);
  const roots: number[] = [];
  for (const [node, parent] of tree.parents.entries()) (parent < 0 ? roots : children[parent]).push(node);

  const outlines: Outline[] = Array.from({ length: tree.size }, () => ({ left: [0], right: [0] }));
  const shifts = new Float64Array(tree.size); // from the parent's place
  for (let node = tree.size - 1; node >= 0; node--) {
    if (children[node].length > 0) outlines[node] = joinBelow(children[node], outlines, shifts);
  }
  const forest = joinBelow(roots, outlines, shifts);

  const columns = new Float64Array(tree.size);
  const leftmost = Math.min(...forest.left);
  for (const [node, parent] of tree.parents.entries()) {
    columns[node] = shifts[node] + (parent < 0 ? -leftmost : columns[parent]);
  }
  return { columns, width: columns.reduce((widest, column) => Math.max(widest, column), 0) };
}

/** Sets siblings side by side, as close as their outlines allow, around the place of their parent, which is 0. */
function joinBelow(siblings: readonly number[], outlines: readonly Outline[], shifts: Float64Array): Outline {
  const left: number[] = [];
  const right: number[] = [];
  for (const node of siblings) {
    const { left: ownLeft, right: ownRight } = outlines[node];
    let shift = 0;
    for (let depth = 0; depth < Math.min(right.length, ownLeft.length); depth++) {
      shift = Math.max(shift, right[depth] + 1 - ownLeft[depth]);
    }
    shifts[node] = shift;
    for (const [depth, place] of ownLeft.entries()) if (depth >= left.length) left.push(place + shift);
    for (const [depth, place] of ownRight.entries()) right[depth] = place + shift;
  }
  const middle = (shifts[siblings[0]] + shifts[siblings[siblings.length - 1]]) / 2;
  for (const node of siblings) shifts[node] -= middle;
  return { left: [0, ...left.map((place) => place - middle)], right: [0, ...right.map((place) => place - middle)] };
}
