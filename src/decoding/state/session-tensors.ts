/** Which tensors a saved session has, of which shapes, and where their numbers are in a state. */
import { internalError } from '../../errors.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { AutoregressiveModel } from '../../models/model.ts';
import { type ModelLayout, positionInSlot } from '../../models/graphs/model-layout.ts';
import { crossShapes } from '../../models/graphs/step-graph.ts';
import type { SequenceState } from './sequence-state.ts';

/** The slots of every layout, with the position each holds after `length` tokens: the last that falls on it. */
export function storedPositions({ slotLayouts }: ModelLayout, length: number) {
  return slotLayouts.map(({ name, ring = length, horizon }) => ({
    name: `positions.${name}`,
    slots: name,
    expected: Int32Array.from({ length: ring }, (_, slot) => positionInSlot(slot, ring, length, horizon)),
  }));
}

/** Matrices [M,rows,D] of a state, where they are in it. A growing cache has more rows there than are stored. */
export interface StoredMatrices {
  readonly name: string;
  readonly shape: readonly [number, number, number];
  readonly of: (state: SequenceState) => Float32Array;
}

export function storedMatrices(model: AutoregressiveModel, { layers }: ModelLayout, length: number): StoredMatrices[] {
  const { keyValueHeads: M, shiftWidth = 0 } = model.sizes;
  const matrices: StoredMatrices[] = [];
  layers.forEach(({ slots, sums, ...widths }, layer) => {
    const { ring = length, rowsPerGroup, horizon } = slots;
    for (const part of ['keys', 'values'] as const) {
      const shape = [M, ring, widths[part].width] as const;
      matrices.push({ name: `${part}.${layer}`, shape, of: (state) => state.layers[layer][part] });
    }
    if (shiftWidth > 0) {
      const of = (state: SequenceState): Float32Array => state.layers[layer].previous;
      matrices.push({ name: `previous.${layer}`, shape: [1, 1, shiftWidth], of });
    }
    if (rowsPerGroup !== undefined) {
      const count = rowsPerGroup * Math.floor(length / horizon.group);
      for (const part of ['keys', 'values'] as const) {
        const of = (state: SequenceState): Float32Array => state.groupRows[layer]?.[part] ?? new Float32Array(0);
        matrices.push({ name: `memory.${part}.${layer}`, shape: [M, count, widths[part].width], of });
      }
    }
    if (sums === undefined) return;
    matrices.push({
      name: `sums.${layer}`,
      shape: [M, ...sums],
      of: (state) => {
        const own = state.layerSums[layer];
        if (own === undefined) throw internalError(`layer ${layer} has no sums`);
        return own;
      },
    });
  });
  return matrices;
}

/** The memories that the layers keep of an encoded text of m tokens. */
export function storedMemories(model: AutoregressiveModel, m: number) {
  const { cross } = model;
  if (cross === undefined) return [];
  return cross.mixers.flatMap((_, layer) =>
    Object.entries(crossShapes(cross, model, layer)).map(([name, shape]) => ({
      name: `cross.${layer}.${name}`,
      layer,
      tensor: name,
      shape: shape.map((dim) => (typeof dim === 'number' ? dim : m)),
    })),
  );
}

/** Copies the rows that both have; either may have more rows per matrix than the [M,rows,D] of `shape`. */
export function copyMatrices(
  from: Float32Array,
  to: Float32Array,
  [M, rows, D]: readonly [number, number, number],
): void {
  for (let head = 0; head < M; head++) {
    const start = (head * from.length) / M;
    to.set(from.subarray(start, start + rows * D), (head * to.length) / M);
  }
}

/** The [M,rows,D] of a state, as stored: its own memory where there are no more rows in it. */
export function storedRows(from: Float32Array, shape: readonly [number, number, number]): Float32Array {
  const length = elementCount(shape);
  if (from.length === length) return from;
  const rows = new Float32Array(length);
  copyMatrices(from, rows, shape);
  return rows;
}
