/**
 * GGUF matrices in codes that products take unchanged. For formats with minima, weight = code · scale − minimum; a whole zero
 * point near minimum / scale keeps the product's codes small, and the rest, zero · scale − minimum, multiplies the sum of the
 * block's inputs.
 */
import { wholeZeros } from '../packed-codes.ts';
import type { CodedMatrix, CodedParts } from '../weight-file.ts';
import { type Blocks, storedBlocks, type Coder, roomFor } from './block-types.ts';
import type { TensorRecipe } from './recipes.ts';
import { bytesOfTensors, mebibyte, storedPieces } from './stored-tensors.ts';

/**
 * A matrix in codes.
 * @returns undefined for a format without codes, and if the conversion's changes split blocks
 */
export function codedMatrix(recipe: TensorRecipe): CodedMatrix | undefined {
  const { sources, row, column, values } = recipe;
  const [source] = sources;
  const { type, shape } = source;
  const { coder } = type;
  if (coder === undefined || values !== undefined || shape.length !== 2) return undefined;
  if (sources.some((one) => one.type !== type) || (column !== undefined && column.unit % coder.size !== 0))
    return undefined;
  const { bits, size, minima } = coder;
  const form = { bits, size, minima };
  const inputs = shape[1];
  const outputs = sources.reduce((sum, one) => sum + one.shape[0], 0);
  const rowBytes = (inputs / type.values) * type.bytes;
  /** The file's rows, in the checkpoint's order. */
  async function* rowsOf(step: number): AsyncGenerator<StoredRows> {
    if (row === undefined && sources.length === 1) {
      for await (const bytes of storedPieces(source, step * rowBytes)) {
        yield { blocks: storedBlocks(bytes), rows: bytes.length / rowBytes, at: (r) => r * rowBytes };
      }
      return;
    }
    const blocks = storedBlocks(await bytesOfTensors(sources));
    for (let first = 0; first < outputs; first += step) {
      const at = (r: number): number => (row?.(first + r) ?? first + r) * rowBytes;
      yield { blocks, rows: Math.min(step, outputs - first), at };
    }
  }
  return {
    form,
    inputs,
    outputs,
    pieces: (rows = Math.max(1, Math.floor(mebibyte / rowBytes))) =>
      coded(coder, recipe, inputs, rowsOf(Math.min(rows, outputs))),
  };
}

/** A matrix's stored rows. */
interface StoredRows {
  readonly blocks: Blocks;
  readonly rows: number;
  /** The byte at which a row begins. */
  readonly at: (row: number) => number;
}

async function* coded(
  coder: Coder,
  { column, sources: [{ type }] }: TensorRecipe,
  inputs: number,
  pieces: AsyncIterable<StoredRows>,
): AsyncGenerator<CodedParts> {
  const { bits, size, minima } = coder;
  const perRow = inputs / size;
  const order = column && Array.from({ length: perRow }, (_, b) => column.of(b * size) / size);
  let [room, other]: ReturnType<typeof roomFor>[] = [];
  for await (const { blocks, rows, at } of pieces) {
    [room, other] = [other, room];
    if (room?.scales.length !== rows * perRow) room = roomFor(coder, rows * perRow);
    for (let r = 0; r < rows; r++) {
      const end = (r + 1) * perRow;
      for (let b = r * perRow, from = at(r); b < end; b += type.values / size, from += type.bytes) {
        coder.write(blocks, from, room, b);
      }
    }
    if (order !== undefined) {
      reorder(room.codes, order, (size * bits) / 8);
      reorder(room.scales, order, 1);
      if (minima) reorder(room.minima, order, 1);
    }
    const { codes, scales } = room;
    yield minima ? { codes, scales, minima: room.minima, ...wholeZeros(room, rows, coder, room) } : { codes, scales };
  }
}

/** Reorders the blocks of every row. @param width elements per block */
function reorder(values: Uint8Array | Float32Array, order: readonly number[], width: number): void {
  const length = order.length * width;
  for (let start = 0; start < values.length; start += length) {
    const old = values.slice(start, start + length);
    order.forEach((from, to) => {
      values.set(old.subarray(from * width, (from + 1) * width), start + to * width);
    });
  }
}
