/** Taking accepted nodes into a state: rows into the ring, groups that closed into S. No replay, no snapshot. */
import { LinnetError } from '../errors.ts';
import { dataOf, tensor } from '../graph/tensor.ts';
import type { Program } from '../runtime/compile.ts';
import type { FoldClass, SequenceState } from './state.ts';

/** The rows that a step returned for one sequence of its batch: [2·layers,B,M,T,D]. */
export interface NewRows {
  readonly data: Float32Array;
  readonly layers: number;
  readonly batch: number;
  readonly nodes: number;
  readonly sequence: number;
  /** Length of the sequence's state when the step read it: the position of roots. */
  readonly committed: number;
}

/** Compiled fold graphs, by the name that fold classes give them. */
export type FoldPrograms = Map<string, Program>;

/**
 * Commits nodes, which stand at positions `state.length`, `state.length` + 1, …
 *
 * A group closes with its last position; its rows, from the ring and from the new ones, are added to S before the ring
 * is overwritten.
 */
export async function commitRows(
  state: SequenceState,
  rows: NewRows,
  nodes: readonly number[],
  folds: FoldPrograms,
): Promise<void> {
  if (nodes.length === 0) return;
  state.reserve(nodes.length);
  const folded = await Promise.all(
    state.foldClasses.map((foldClass, index) => foldClosed(state, rows, nodes, folds, foldClass, index)),
  );
  folded.forEach((sums, index) => {
    if (sums !== undefined) state.sums[index].set(sums);
  });
  writeRows(state, rows, nodes);
  state.length += nodes.length;
}

/** S with the groups added that close within the new positions; undefined if none does. */
async function foldClosed(
  state: SequenceState,
  rows: NewRows,
  nodes: readonly number[],
  folds: FoldPrograms,
  { layout, program: name, sums: shape, layers }: FoldClass,
  index: number,
): Promise<Float32Array | undefined> {
  const { keyValueHeads: M, headWidth: D } = state.model.sizes;
  const G = layout.group;
  const start = state.length - (state.length % G);
  const end = state.length + nodes.length - ((state.length + nodes.length) % G);
  const count = end - start;
  if (count === 0) return undefined;
  const program = folds.get(name);
  const ring = layout.ring;
  if (program === undefined || ring === undefined)
    throw new LinnetError('INTERNAL', 'internal: a fold without a program or ring');
  const keys = new Float32Array(layers.length * M * count * D);
  const values = new Float32Array(keys.length);
  let target = 0;
  for (const layer of layers) {
    const held = state.layers[layer];
    for (let head = 0; head < M; head++) {
      for (let position = start; position < end; position++, target += D) {
        if (position < state.length) {
          const source = (head * ring + (position % ring)) * D;
          keys.set(held.keys.subarray(source, source + D), target);
          values.set(held.values.subarray(source, source + D), target);
        } else {
          const node = nodes[position - state.length];
          keys.set(rowOf(rows, 2 * layer, head, node, M, D), target);
          values.set(rowOf(rows, 2 * layer + 1, head, node, M, D), target);
        }
      }
    }
  }
  const X = layers.length * M;
  const { folded } = await program.run(
    {
      keys: tensor('float32', [X, count, D], keys),
      values: tensor('float32', [X, count, D], values),
      sums: tensor('float32', [X, ...shape], state.sums[index]),
    },
    ['folded'],
  );
  return dataOf(folded, 'float32');
}

function rowOf(rows: NewRows, part: number, head: number, node: number, M: number, D: number): Float32Array {
  const { data, batch, nodes, sequence } = rows;
  const start = (((part * batch + sequence) * M + head) * nodes + node) * D;
  return data.subarray(start, start + D);
}

/** Writes accepted rows to their slots: position mod C in a ring, the position itself in a growing cache. */
function writeRows(state: SequenceState, rows: NewRows, nodes: readonly number[]): void {
  const { keyValueHeads: M, headWidth: D } = state.model.sizes;
  for (const { layout, positions } of state.slots.values()) {
    const first = layout.ring === undefined ? 0 : Math.max(0, nodes.length - layout.ring);
    for (let i = first; i < nodes.length; i++) {
      const position = state.length + i;
      positions[position % positions.length] = position;
    }
  }
  state.model.mixers.forEach((mixer, layer) => {
    const { positions } = state.layoutSlots(mixer);
    const slots = positions.length;
    const target = state.layers[layer];
    for (let head = 0; head < M; head++) {
      for (let i = Math.max(0, nodes.length - slots); i < nodes.length; i++) {
        const place = (head * slots + ((state.length + i) % slots)) * D;
        target.keys.set(rowOf(rows, 2 * layer, head, nodes[i], M, D), place);
        target.values.set(rowOf(rows, 2 * layer + 1, head, nodes[i], M, D), place);
      }
    }
  });
}
