/** Taking accepted nodes into a state: rows into the ring, groups that closed into S. No replay, no snapshot. */
import { LinnetError } from '../../errors.ts';
import { dataOf, tensor } from '../../graph/tensor.ts';
import type { Program } from '../../runtime/compile.ts';
import type { FoldClass, SequenceState } from './sequence-state.ts';

/** The rows that a step returned for one sequence of its batch. */
export interface NewRows {
  /** Keys and values of all layers: [B,M,T,R], see `rowLayout`. */
  readonly data: Float32Array;
  /** Shifted features [B,T,L·X]; empty in a model that shifts none. */
  readonly shifts: Float32Array;
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
 * A group closes with its last position; its rows, from the ring and from the new ones, are added to S, or projected, before
 * the ring is overwritten.
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
  folded.forEach((result, index) => {
    if (result !== undefined) state.takeFolded(index, result);
  });
  writeRows(state, rows, nodes);
  rememberShift(state, rows, nodes[nodes.length - 1]);
  state.length += nodes.length;
}

/** S with the groups added that close within the new positions, or their projected rows; undefined if none does. */
async function foldClosed(
  state: SequenceState,
  rows: NewRows,
  nodes: readonly number[],
  folds: FoldPrograms,
  { layout, program: name, sums: shape, layers }: FoldClass,
  index: number,
): Promise<Float32Array | undefined> {
  const { keyValueHeads: M } = state.model.sizes;
  const G = layout.group;
  const start = state.length - (state.length % G);
  const end = state.length + nodes.length - ((state.length + nodes.length) % G);
  const count = end - start;
  if (count === 0) return undefined;
  const program = folds.get(name);
  const ring = layout.ring;
  if (program === undefined || ring === undefined)
    throw new LinnetError('INTERNAL', 'internal: a fold without a program or ring');
  // The layers of a class fold by one graph: their rows have equal widths.
  const { keys: keyPlace, values: valuePlace } = state.rowLayout.layers[layers[0]];
  const collect = (part: 'keys' | 'values', width: number): Float32Array => {
    const collected = new Float32Array(layers.length * M * count * width);
    let target = 0;
    for (const layer of layers) {
      const held = state.layers[layer][part];
      for (let head = 0; head < M; head++) {
        for (let position = start; position < end; position++, target += width) {
          const source = (head * ring + (position % ring)) * width;
          collected.set(
            position < state.length
              ? held.subarray(source, source + width)
              : newRow(state, rows, layer, part, head, nodes[position - state.length]),
            target,
          );
        }
      }
    }
    return collected;
  };
  const X = layers.length * M;
  const rowShape = shape === null ? [X, count / G, G] : [X, count];
  const { folded } = await program.run(
    {
      keys: tensor('float32', [...rowShape, keyPlace.width], collect('keys', keyPlace.width)),
      values: tensor('float32', [...rowShape, valuePlace.width], collect('values', valuePlace.width)),
      ...(shape !== null && { sums: tensor('float32', [X, ...shape], state.sums[index]) }),
    },
    ['folded'],
  );
  return dataOf(folded, 'float32');
}

function newRow(
  { model, rowLayout }: SequenceState,
  { data, nodes, sequence }: NewRows,
  layer: number,
  part: 'keys' | 'values',
  head: number,
  node: number,
): Float32Array {
  const place = rowLayout.layers[layer][part];
  const row = (sequence * model.sizes.keyValueHeads + head) * nodes + node;
  const start = row * rowLayout.width + place.start;
  return data.subarray(start, start + place.width);
}

/** What the next token is given from the last one that was accepted. */
function rememberShift(state: SequenceState, { shifts, nodes, sequence }: NewRows, node: number): void {
  const { layers, shiftWidth: X = 0 } = state.model.sizes;
  const start = (sequence * nodes + node) * layers * X;
  state.layers.forEach(({ previous }, layer) => {
    previous.set(shifts.subarray(start + layer * X, start + (layer + 1) * X));
  });
}

/** Writes accepted rows to their slots: position mod C in a ring, the position itself in a growing cache. */
function writeRows(state: SequenceState, rows: NewRows, nodes: readonly number[]): void {
  const { keyValueHeads: M } = state.model.sizes;
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
    for (const part of ['keys', 'values'] as const) {
      const { width } = state.rowLayout.layers[layer][part];
      const target = state.layers[layer][part];
      for (let head = 0; head < M; head++) {
        for (let i = Math.max(0, nodes.length - slots); i < nodes.length; i++) {
          const place = (head * slots + ((state.length + i) % slots)) * width;
          target.set(newRow(state, rows, layer, part, head, nodes[i]), place);
        }
      }
    }
  });
}
