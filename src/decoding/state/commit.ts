/** Takes accepted nodes into a state: rows into the ring, closed groups into S. No replay, no snapshot. */
import { slotOf, foldStart } from '../../attention/masks.ts';
import { internalError } from '../../errors.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import type { FoldClass, LayerLayout } from '../../models/graphs/model-layout.ts';
import type { Program } from '../../runtime/program.ts';
import type { SequenceState } from './sequence-state.ts';

/** The rows a step returned for one sequence of its batch. */
export interface NewRows {
  /** All layers' keys and values: [B,M,T,R] for each of `ModelLayout.rows`; only one text's last nodes if states keep few rows. */
  readonly data: readonly Float32Array[];
  /** Shifted features [B,T,L·X]; empty in a model that shifts none. */
  readonly shifts: Float32Array;
  readonly nodes: number;
  readonly sequence: number;
  /** Length of the sequence's state when the step read it: the roots' position. */
  readonly committed: number;
  /** S by layer after a chain of `nodes`, if it ends with a group in all layers that fold; for several texts, until the next step. */
  readonly later?: { readonly nodes: number; readonly sums: Map<number, Float32Array> };
}

/** Compiled fold graphs, by fold-class name. */
export type FoldPrograms = Map<string, Program>;

/**
 * Commits nodes at positions `state.length`, `state.length` + 1, …
 *
 * A group closes with its last position; its rows, from the ring and the new ones, are added to S or projected before the
 * ring is overwritten.
 */
export async function commitRows(
  state: SequenceState,
  rows: NewRows,
  nodes: readonly number[],
  folds: FoldPrograms,
): Promise<void> {
  if (nodes.length === 0) return;
  state.reserve(nodes.length);
  const length = state.length + nodes.length;
  const closing: Closing[] = [];
  let endsGroups = true;
  for (const [index, foldClass] of state.layout.folds.entries()) {
    const { horizon } = foldClass.slots;
    // Sinks are never folded: they stay readable one by one.
    const start = Math.max(foldStart(state.length, horizon), horizon.sinks ?? 0);
    const end = foldStart(length, horizon);
    endsGroups &&= end === length;
    if (end > start) closing.push({ foldClass, index, start, end });
  }
  const later =
    rows.later?.nodes === nodes.length && (endsGroups || closing.length === 0) ? rows.later.sums : undefined;
  if (later !== undefined && later.size > 0 && [...later.values()].every((sums) => sums.length > 0)) {
    if (endsGroups) state.takeSums(later);
    else state.readAhead(length, later);
    later.clear(); // another state that takes these nodes folds them itself
  } else if (closing.length > 0) {
    const folded = await Promise.all(closing.map((part) => foldClosed(state, rows, nodes, folds, part)));
    for (const [i, { index }] of closing.entries()) state.takeFolded(index, folded[i]);
  }
  writeRows(state, rows, nodes);
  if (rows.shifts.length > 0) rememberShift(state, rows, nodes[nodes.length - 1]);
  state.length = length;
}

/** A fold class with groups to fold: the positions that leave the window. */
interface Closing {
  readonly foldClass: FoldClass;
  readonly index: number;
  readonly start: number;
  readonly end: number;
}

/** S plus the groups that close within the new positions, or those groups' projected rows. */
async function foldClosed(
  state: SequenceState,
  rows: NewRows,
  nodes: readonly number[],
  folds: FoldPrograms,
  { foldClass, start, end }: Closing,
): Promise<Float32Array> {
  const { slots, heads: M, program: name, sums: shape, layers } = foldClass;
  const { horizon, ring } = slots;
  const G = horizon.group;
  const count = end - start;
  const program = folds.get(name);
  if (program === undefined || ring === undefined) throw internalError('a fold without a program or ring');
  // One graph folds a class's layers: their rows have equal widths, and it reads their beginnings.
  const X = layers.length * M;
  const heads = program.inputs.get('sums')?.shape.length === 4 ? [layers.length, M] : [X];
  const rowShape = shape === null ? [X, count / G, G] : [...heads, count];
  const collect = (part: 'keys' | 'values'): Record<string, Tensor> => {
    const input = program.inputs.get(part);
    if (input === undefined) return {};
    const width = Number(input.shape.at(-1));
    const collected = new Float32Array(layers.length * M * count * width);
    let target = 0;
    for (const layer of layers) {
      const held = state.layers[layer][part];
      const layout = state.layout.layers[layer];
      const stride = layout[part].width;
      for (let head = 0; head < M; head++) {
        for (let position = start; position < end; position++, target += width) {
          if (position < state.length) {
            copyRow(held, (head * ring + slotOf(position, ring, horizon)) * stride, collected, target, width);
          } else {
            const source = rowStart(state, rows, layout, head, nodes[position - state.length]) + layout[part].start;
            copyRow(rows.data[layout.output], source, collected, target, width);
          }
        }
      }
    }
    return { [part]: tensor('float32', [...rowShape, width], collected) };
  };
  const { folded } = await program.run(
    {
      ...collect('keys'),
      ...collect('values'),
      ...(shape !== null && { sums: tensor('float32', [...heads, ...shape], sumsOf(state, layers)) }),
      ...(program.inputs.has('ages') && foldAges(start, end, G, (end - foldStart(state.length, horizon)) / G)),
    },
    ['folded'],
  );
  const { keys, values } = state.layout.layers[layers[0]];
  const [height, width] = shape ?? [(slots.rowsPerGroup ?? 0) * (count / G), keys.width + values.width];
  return dataOf(folded, 'float32', X * height * width);
}

/** Layers' S, end to end; for the class that folded last, the array its graph returned. */
function sumsOf({ layerSums }: SequenceState, layers: readonly number[]): Float32Array {
  const parts = layers.map((layer) => layerSums[layer] ?? new Float32Array(0));
  const [{ buffer, byteOffset, byteLength, length }] = parts;
  const inOrder = parts.every((part, i) => part.buffer === buffer && part.byteOffset === byteOffset + i * byteLength);
  if (inOrder) return new Float32Array(buffer, byteOffset, parts.length * length);
  const all = new Float32Array(parts.length * length);
  for (const [i, part] of parts.entries()) all.set(part, i * length);
  return all;
}

/** How many folded groups lie behind each row, and how many are folded. */
function foldAges(start: number, end: number, G: number, groups: number): Record<string, Tensor> {
  const last = end / G - 1;
  const ages = Float32Array.from({ length: end - start }, (_, i) => last - Math.floor((start + i) / G));
  return { ages: tensor('float32', [end - start], ages), groups: tensor('float32', [1], Float32Array.of(groups)) };
}

/** Where a node's numbers begin in a layer's output, for one key-value head. */
function rowStart(
  { layout }: SequenceState,
  { data, nodes, sequence }: NewRows,
  { output, heads }: LayerLayout,
  head: number,
  node: number,
): number {
  const { width } = layout.rows[output];
  const missing = Math.max(0, nodes - data[output].length / (heads * width));
  return ((sequence * heads + head) * (nodes - missing) + node - missing) * width;
}

/** Numbers from which a view costs less than copying one by one (measured: 64 take 0.09 µs instead of 0.3). */
const viewWidth = 32;

function copyRow(from: Float32Array, source: number, to: Float32Array, target: number, width: number): void {
  if (width >= viewWidth) {
    to.set(from.subarray(source, source + width), target);
    return;
  }
  for (let i = 0; i < width; i++) to[target + i] = from[source + i];
}

/** Keeps the last accepted token's features, which shift into the next. */
function rememberShift(state: SequenceState, { shifts, nodes, sequence }: NewRows, node: number): void {
  const { layers, shiftWidth: X = 0 } = state.model.sizes;
  const start = (sequence * nodes + node) * layers * X;
  state.layers.forEach(({ previous }, layer) => {
    previous.set(shifts.subarray(start + layer * X, start + (layer + 1) * X));
  });
}

/** Writes accepted rows to their slots: position mod C in a ring, the position itself in a growing cache. */
function writeRows(state: SequenceState, rows: NewRows, nodes: readonly number[]): void {
  for (const slots of state.layout.slotLayouts) {
    const { horizon, layers } = slots;
    const positions = state.positions[slots.index];
    const count = positions.length;
    const { sinks = 0 } = horizon;
    // Later nodes would overwrite earlier nodes' rows.
    const overwritten = Math.max(0, nodes.length - (count - sinks));
    for (let i = 0; i < nodes.length; i++) {
      if (i < overwritten && state.length + i >= sinks) continue;
      const slot = slotOf(state.length + i, count, horizon);
      positions[slot] = state.length + i;
      for (const layer of layers) {
        const layout = state.layout.layers[layer];
        const { heads, keys, values } = layout;
        const data = rows.data[layout.output];
        const held = state.layers[layer];
        for (let head = 0; head < heads; head++) {
          const source = rowStart(state, rows, layout, head, nodes[i]);
          copyRow(data, source + keys.start, held.keys, (head * count + slot) * keys.width, keys.width);
          const width = values.width / values.parts;
          for (let part = 0; part < values.parts; part++) {
            const place = (head * values.parts + part) * count + slot;
            copyRow(data, source + values.start + part * width, held.values, place * width, width);
          }
        }
      }
    }
  }
}
