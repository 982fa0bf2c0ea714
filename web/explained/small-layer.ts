/**
 * One head of the paper's mixer on a few random rows, small enough to compute live: by the formula (the library's
 * float64 reference), position by position with the sums S, and over a token tree with the library's masks.
 */
import { convolutionReach, filterName } from '../../src/attention/convolution-config.ts';
import { branchParameters, type LinearMixer } from '../../src/attention/kinds/linear/config.ts';
import { linearProblem, linearReads, linearReference, linearRow } from '../../src/attention/kinds/linear/reference.ts';
import { fillMasks, makeMaskBuffers, type MaskBuffers, type TreeRule, foldStart } from '../../src/attention/masks.ts';
import {
  addScaled,
  cosineKernel,
  type ReferenceInput,
  ReferencePositions,
  reluSquaredKernel,
  unit,
} from '../../src/attention/reference.ts';
import { TokenTree } from '../../src/attention/tree.ts';
import { Random } from '../../src/random.ts';

/** Rows of one head, each [n][D]. */
export interface Rows {
  readonly q: readonly Float64Array[];
  readonly k: readonly Float64Array[];
  readonly v: readonly Float64Array[];
}

export interface SmallMixer {
  /** G. */
  readonly group: number;
  /** The K weights of the filter; undefined for no convolution. */
  readonly filter?: readonly number[];
  /** Default true. */
  readonly masked?: boolean;
}

const width = 8;
const alpha = 0.5;
const dims = { heads: 1, keyValueHeads: 1, headWidth: width };

/** n rows of seeded random numbers. */
export function randomRows(length: number, seed: number): Rows {
  const random = new Random(seed);
  const rows = (): Float64Array[] =>
    Array.from({ length }, () => Float64Array.from({ length: width }, () => random.normal()));
  return { q: rows(), k: rows(), v: rows() };
}

function branchesOf({ group, filter, masked = true }: SmallMixer): LinearMixer {
  return {
    ...{ kind: 'linear', group, normalize: null, castling: false },
    local: { kernel: 'relu2', scale: 'none' },
    global: { scale: 'learned' },
    convolution: filter === undefined ? null : { kernel: filter.length, masked },
  };
}

function positionsOf(mixer: SmallMixer, { q, k, v }: Rows): ReferencePositions {
  const flat = (rows: readonly Float64Array[]): Float64Array => Float64Array.from(rows.flatMap((row) => [...row]));
  const branches = branchesOf(mixer);
  const parameters: ReferenceInput['parameters'] = {
    global_factor: Float64Array.of(alpha),
    ...(mixer.filter !== undefined && { [filterName]: Float64Array.from(mixer.filter) }),
  };
  return new ReferencePositions(
    { dims: { ...dims, length: q.length }, q: flat(q), k: flat(k), v: flat(v), parameters },
    { parameters: branchParameters(branches, dims), convolution: branches.convolution },
  );
}

/** The formula's outputs: [n][D]. */
export function byFormula(mixer: SmallMixer, rows: Rows): Float64Array[] {
  const out = linearReference(branchesOf(mixer), positionsOf(mixer, rows));
  return rows.q.map((_, position) => out.subarray(position * width, (position + 1) * width));
}

/** The formula's weights by branch, each [n,n]. */
export function weightsOf(mixer: SmallMixer, rows: Rows): Record<'window' | 'memory' | 'convolution', Float32Array> {
  const n = rows.q.length;
  const positions = positionsOf(mixer, rows);
  const problem = linearProblem(branchesOf(mixer), positions);
  const empty = (): Float32Array => new Float32Array(n * n);
  const weights = { window: empty(), memory: empty(), convolution: empty() };
  for (let t = 0; t < n; t++) {
    const { same, outside } = linearReads(problem, t);
    const { localWeights, globalWeights } = linearRow(problem, 0, t);
    same.forEach((j, at) => (weights.window[t * n + j] = localWeights[at]));
    outside.forEach((j, at) => (weights.memory[t * n + j] = alpha * globalWeights[at]));
    for (const { index, position } of positions.filterReads(t)) {
      weights.convolution[t * n + position] = mixer.filter?.[index] ?? 0;
    }
  }
  return weights;
}

/** A matrix S [D][D] of sums of k̂ᵀv. */
type Sums = readonly Float64Array[];

function addToSums(sums: Sums, key: Float64Array, value: Float64Array): void {
  unit(key).forEach((factor, row) => addScaled(sums[row], factor, value));
}

function emptySums(): Sums {
  return Array.from({ length: width }, () => new Float64Array(width));
}

/** out += α·q̂S. */
function addFromSums(out: Float64Array, query: Float64Array, sums: Sums): void {
  unit(query).forEach((factor, row) => addScaled(out, alpha * factor, sums[row]));
}

/** The same outputs position by position, from S and the open group's rows alone: [n][D]. */
export function bySums({ group }: SmallMixer, { q, k, v }: Rows): Float64Array[] {
  const sums = emptySums();
  return q.map((query, t) => {
    const open = t - (t % group);
    // The group that has just closed is added to S; its rows are not read again.
    if (t === open) for (let j = Math.max(0, t - group); j < t; j++) addToSums(sums, k[j], v[j]);
    const out = new Float64Array(width);
    const weights = reluSquaredKernel(query, k.slice(open, t + 1));
    weights.forEach((weight, at) => addScaled(out, weight, v[open + at]));
    addFromSums(out, query, sums);
    return out;
  });
}

/** A token tree on top of a committed text. */
export interface TreeProblem {
  readonly mixer: SmallMixer & { readonly filter: readonly number[] };
  /** L. */
  readonly committed: number;
  readonly parents: readonly number[];
  /** Rows of the text, then of the nodes. */
  readonly rows: Rows;
}

/** C: slots in the ring. */
function ringSlots({ group, filter }: TreeProblem['mixer']): number {
  return Math.max(group, convolutionReach(filter.length));
}

/** Position in each ring slot; −1 for none. */
export function ringPositions({ mixer, committed }: TreeProblem): Int32Array {
  const slots = ringSlots(mixer);
  const positions = new Int32Array(slots).fill(-1);
  for (let position = Math.max(0, committed - slots); position < committed; position++) {
    positions[position % slots] = position;
  }
  return positions;
}

/** The library's masks: the ring and tree rows that each node sees. */
export function masksOf(problem: TreeProblem, rule: TreeRule): MaskBuffers {
  const { mixer, committed, parents } = problem;
  const buffers = makeMaskBuffers(1, parents.length, ringSlots(mixer));
  const step = { slotPositions: ringPositions(problem), tree: new TokenTree(parents), committed, rule };
  fillMasks(buffers, 0, step, { group: mixer.group, reach: convolutionReach(mixer.filter.length) });
  return buffers;
}

/** The first position that is not in S. */
export function foldedUpTo({ mixer, committed }: Pick<TreeProblem, 'mixer' | 'committed'>): number {
  return foldStart(committed, mixer);
}

/** Outputs of all tree nodes in one step, on ring and S: [T][D]. */
export function treeStep(problem: TreeProblem, rule: TreeRule): Float64Array[] {
  const { mixer, committed, parents, rows } = problem;
  const { ring, tree } = masksOf(problem, rule);
  const sums = emptySums();
  for (let j = 0; j < foldedUpTo(problem); j++) addToSums(sums, rows.k[j], rows.v[j]);
  const held = ringPositions(problem);
  const reach = convolutionReach(mixer.filter.length);
  return parents.map((_, node) => {
    const query = rows.q[committed + node];
    const out = new Float64Array(width);
    const read = (block: typeof ring, rowOfColumn: (column: number) => number): void => {
      for (let column = 0; column < block.rows; column++) {
        const at = node * block.rows + column;
        const row = rowOfColumn(column);
        if (row < 0) continue;
        const [key, value] = [[rows.k[row]], rows.v[row]];
        if (block.same[at] === 1) addScaled(out, reluSquaredKernel(query, key)[0], value);
        if (block.earlier[at] === 1) addScaled(out, alpha * cosineKernel(query, key)[0], value);
        if (block.offsets[at] <= reach) addScaled(out, mixer.filter[reach - block.offsets[at]], value);
      }
    };
    read(ring, (slot) => held[slot]);
    read(tree, (column) => committed + column);
    addFromSums(out, query, sums);
    return out;
  });
}

/** Outputs of all nodes, each path read alone as ordinary text: [T][D]. */
export function pathsAlone({ mixer, committed, parents, rows }: TreeProblem): Float64Array[] {
  const tree = new TokenTree(parents);
  return parents.map((_, node) => {
    const places = [
      ...Array.from({ length: committed }, (__, position) => position),
      ...tree.pathTo(node).map((of) => committed + of),
    ];
    const along = (all: readonly Float64Array[]): Float64Array[] => places.map((place) => all[place]);
    const outputs = byFormula(mixer, { q: along(rows.q), k: along(rows.k), v: along(rows.v) });
    return outputs[outputs.length - 1];
  });
}

/** Largest difference between two lists of rows. */
export function largestDifference(a: readonly Float64Array[], b: readonly Float64Array[]): number {
  return a.reduce((most, row, at) => row.reduce((m, x, i) => Math.max(m, Math.abs(x - b[at][i])), most), 0);
}
