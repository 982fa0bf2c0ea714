/** Taking accepted nodes into a state: rows into the ring, groups that closed into S. No replay, no snapshot. */
import { windowStart } from '../../attention/masks.ts';
import type { Horizon } from '../../attention/mixer.ts';
import { LinnetError } from '../../errors.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import { type FoldClass, slotOf } from '../../models/graphs/model-layout.ts';
import type { Program } from '../../runtime/program.ts';
import type { SequenceState } from './sequence-state.ts';

/** The rows that a step returned for one sequence of its batch. */
export interface NewRows {
  /** Keys and values of all layers: [B,M,T,R], see `ModelLayout`. */
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
 * Commits nodes, which are at positions `state.length`, `state.length` + 1, …
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
    state.layout.folds.map((foldClass, index) => foldClosed(state, rows, nodes, folds, foldClass, index)),
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
  { slots: { horizon, ring }, program: name, sums: shape, layers }: FoldClass,
  index: number,
): Promise<Float32Array | undefined> {
  const { keyValueHeads: M } = state.model.sizes;
  const G = horizon.group;
  const after = state.length + nodes.length;
  // Groups are folded as they leave the window. Sinks never are, since they are read one by one for good.
  const start = Math.max(windowStart(state.length, horizon), horizon.sinks ?? 0);
  const end = windowStart(after, horizon);
  const count = end - start;
  if (count <= 0) return undefined;
  const program = folds.get(name);
  if (program === undefined || ring === undefined)
    throw new LinnetError('INTERNAL', 'internal: a fold without a program or ring');
  // The layers of a class fold by one graph: their rows have equal widths.
  const { keys, values } = state.layout.layers[layers[0]];
  const collect = (part: 'keys' | 'values', width: number): Float32Array => {
    const collected = new Float32Array(layers.length * M * count * width);
    let target = 0;
    for (const layer of layers) {
      const held = state.layers[layer][part];
      for (let head = 0; head < M; head++) {
        for (let position = start; position < end; position++, target += width) {
          const source = (head * ring + slotOf(position, ring, horizon)) * width;
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
      keys: tensor('float32', [...rowShape, keys.width], collect('keys', keys.width)),
      values: tensor('float32', [...rowShape, values.width], collect('values', values.width)),
      ...(shape !== null && { sums: tensor('float32', [X, ...shape], state.sums[index]) }),
      ...(program.inputs.has('ages') && foldAges(start, end, G, (end - windowStart(state.length, horizon)) / G)),
    },
    ['folded'],
  );
  return dataOf(folded, 'float32');
}

/** How many of the groups that are folded lie behind each row, and how many are folded. */
function foldAges(start: number, end: number, G: number, groups: number): Record<string, Tensor> {
  const last = end / G - 1;
  const ages = Float32Array.from({ length: end - start }, (_, i) => last - Math.floor((start + i) / G));
  return { ages: tensor('float32', [end - start], ages), groups: tensor('float32', [1], Float32Array.of(groups)) };
}

function newRow(
  { model, layout }: SequenceState,
  { data, nodes, sequence }: NewRows,
  layer: number,
  part: 'keys' | 'values',
  head: number,
  node: number,
): Float32Array {
  const slice = layout.layers[layer][part];
  const row = (sequence * model.sizes.keyValueHeads + head) * nodes + node;
  const start = row * layout.rowWidth + slice.start;
  return data.subarray(start, start + slice.width);
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
  for (const slots of state.layout.slotLayouts) {
    const positions = state.positions(slots);
    const count = positions.length;
    const kept = keptNodes(state.length, nodes.length, count, slots.horizon);
    for (const i of kept) positions[slotOf(state.length + i, count, slots.horizon)] = state.length + i;
    for (const [index, layer] of state.layout.layers.entries()) {
      if (layer.slots !== slots) continue;
      for (const part of ['keys', 'values'] as const) {
        const { width } = layer[part];
        const target = state.layers[index][part];
        for (let head = 0; head < M; head++) {
          for (const i of kept) {
            const slot = head * count + slotOf(state.length + i, count, slots.horizon);
            target.set(newRow(state, rows, index, part, head, nodes[i]), slot * width);
          }
        }
      }
    }
  }
}

/** Of `count` nodes that follow a text of `length` tokens, those whose rows no later one of them would overwrite. */
function keptNodes(length: number, count: number, slots: number, { sinks = 0 }: Horizon): number[] {
  const overwritten = Math.max(0, count - (slots - sinks));
  const kept: number[] = [];
  for (let i = 0; i < count; i++) if (i >= overwritten || length + i < sinks) kept.push(i);
  return kept;
}
