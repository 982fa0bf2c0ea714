/**
 * Matrices of GGUF files in codes that products take as they are. Where a format has minima, weight = code · scale − minimum; a whole zero
 * point near minimum / scale makes the codes of a product small, and the rest, zero · scale − minimum, goes times the sum of the block's
 * inputs.
 */
import { wholeZeros } from '../packed-codes.ts';
import type { CodedMatrix, CodedParts } from '../weight-file.ts';
import { type Coder, roomFor } from './block-types.ts';
import type { ListedTensor } from './header.ts';
import type { TensorRecipe } from './recipes.ts';

/**
 * A matrix in codes.
 * @param stored gives the bytes of tensors of the file
 * @returns undefined for a format without codes, and where conversion's changes do not leave blocks whole
 */
export function codedMatrix(
  recipe: TensorRecipe,
  stored: (sources: readonly ListedTensor[]) => Promise<Uint8Array>,
): CodedMatrix | undefined {
  const { sources, column, values } = recipe;
  const [{ type, shape }] = sources;
  const { coder } = type;
  if (coder === undefined || values !== undefined || shape.length !== 2) return undefined;
  if (sources.some((one) => one.type !== type) || (column !== undefined && column.unit % coder.size !== 0))
    return undefined;
  const inputs = shape[1];
  const outputs = sources.reduce((sum, one) => sum + one.shape[0], 0);
  const { bits, size, minima } = coder;
  return {
    form: { bits, size, minima },
    inputs,
    outputs,
    load: async () => coded(coder, recipe, await stored(sources), outputs, inputs),
  };
}

function coded(coder: Coder, recipe: TensorRecipe, bytes: Uint8Array, outputs: number, inputs: number): CodedParts {
  const { bits, size } = coder;
  const { row, column } = recipe;
  const { type } = recipe.sources[0];
  const perRow = inputs / size;
  const [stored, each] = [inputs / type.values, type.values / size];
  const codeBytes = (size * bits) / 8;
  const room = roomFor(coder, outputs * perRow);
  for (let r = 0; r < outputs; r++) {
    const from = (row?.(r) ?? r) * stored;
    for (let b = 0; b < stored; b++) coder.write(bytes, (from + b) * type.bytes, room, r * perRow + b * each);
  }
  if (column !== undefined) {
    const order = Array.from({ length: perRow }, (_, b) => column.of(b * size) / size);
    reorder(room.codes, order, codeBytes);
    reorder(room.scales, order, 1);
    if (coder.minima) reorder(room.minima, order, 1);
  }
  return coder.minima ? { ...room, ...wholeZeros(room, outputs, bits) } : { codes: room.codes, scales: room.scales };
}

/** Puts the blocks of every row into another order. @param width elements of a block */
function reorder(values: Uint8Array | Float32Array, order: readonly number[], width: number): void {
  const length = order.length * width;
  for (let start = 0; start < values.length; start += length) {
    const old = values.slice(start, start + length);
    order.forEach((from, to) => {
      values.set(old.subarray(from * width, (from + 1) * width), start + to * width);
    });
  }
}
