/** Where the nodes of a tree go: a level per depth, every parent over the middle of its children, subtrees side by side. */

export interface TreeLayout {
  /** Number of ancestors of every node. */
  readonly depths: readonly number[];
  /** Place of every node within its level, from 0, in units of the distance between neighbours. */
  readonly columns: readonly number[];
  /** The largest place. */
  readonly width: number;
}

/** The outlines of a subtree, the deepest level first; places count from `origin`. */
interface Outline {
  readonly left: number[];
  readonly right: number[];
  origin: number;
}

/**
 * Lays out a tree or forest; siblings keep their order.
 * @param parents of every node, -1 for a root; a parent comes before its children, anything else counts as a root
 */
export function layoutTree(parents: ArrayLike<number>): TreeLayout {
  const nodes = Array.from(parents, (_, node) => node);
  const above = nodes.map((node) => (nodes[parents[node]] < node ? parents[node] : -1));
  const children = new Map<number, number[]>([-1, ...nodes].map((node) => [node, []]));
  const depths: number[] = [];
  for (const node of nodes) {
    children.get(above[node])?.push(node);
    depths.push(above[node] === -1 ? 0 : depths[above[node]] + 1);
  }
  const shifts = nodes.map(() => 0); // from the parent
  const outlines: Outline[] = [];
  for (const node of [...nodes.toReversed(), -1]) {
    let whole: Outline = { left: [], right: [], origin: 0 };
    const places = (children.get(node) ?? []).map((child) => {
      const place = distance(whole, outlines[child]);
      whole = joined(whole, outlines[child], place);
      return place;
    });
    const middle = ((places.at(0) ?? 0) + (places.at(-1) ?? 0)) / 2;
    for (const [at, child] of (children.get(node) ?? []).entries()) shifts[child] = places[at] - middle;
    if (node === -1) break;
    whole.origin -= middle;
    whole.left.push(-whole.origin);
    whole.right.push(-whole.origin);
    outlines[node] = whole;
  }
  const columns: number[] = [];
  for (const node of nodes) columns.push(shifts[node] + (above[node] === -1 ? 0 : columns[above[node]]));
  const leftmost = columns.reduce((least, column) => Math.min(least, column), Infinity);
  const placed = columns.map((column) => column - leftmost);
  return { depths, columns: placed, width: placed.reduce((most, column) => Math.max(most, column), 0) };
}

/** How far right a subtree goes so that it is beside the others on every level. */
function distance(whole: Outline, next: Outline): number {
  let least = whole.right.length === 0 ? 0 : -Infinity;
  for (let level = 1; level <= Math.min(whole.right.length, next.left.length); level++) {
    const [right, left] = [whole.right[whole.right.length - level], next.left[next.left.length - level]];
    least = Math.max(least, right + whole.origin + 1 - left - next.origin);
  }
  return least;
}

/** The outline of both; takes over the lists of the deeper one. */
function joined(whole: Outline, next: Outline, place: number): Outline {
  const moved = next.origin + place;
  const isDeeper = next.left.length > whole.left.length;
  const [deep, shallow, side] = isDeeper ? ([next, whole, 'left'] as const) : ([whole, next, 'right'] as const);
  const shift = isDeeper ? whole.origin - moved : moved - whole.origin;
  const offset = deep[side].length - shallow[side].length;
  for (const [level, value] of shallow[side].entries()) deep[side][offset + level] = value + shift;
  if (isDeeper) next.origin = moved;
  return deep;
}
