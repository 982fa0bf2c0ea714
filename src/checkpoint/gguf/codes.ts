/**
 * Matrices of GGUF files in codes that products take as they are: a code of 4 or 8 bits for each weight, a scale for 16 or 32 inputs.
 * Where a format has minima, weight = code · scale − minimum; a whole zero point near minimum / scale makes the codes of a product small,
 * and the rest, zero · scale − minimum, goes times the sum of the block's inputs. A scale of 0 leaves the minimum alone.
 */
import type { CodedMatrix, CodedParts, CodeForm } from '../weight-file.ts';
import { codeTables, halfValues, sixBits, subMinimum, subScale, unevenScale } from './block-types.ts';
import type { ListedTensor } from './header.ts';
import type { TensorRecipe } from './recipes.ts';

/** Room for the codes of a matrix, which coders fill. */
interface Room {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly minima: Float32Array;
}

/** How a format becomes codes. */
interface Coder extends CodeForm {
  /**
   * Writes one block.
   * @param block number of its first block of `size` in the room
   */
  write(bytes: Uint8Array, at: number, room: Room, block: number): void;
}

function halfAt(bytes: Uint8Array, at: number): number {
  return halfValues()[bytes[at] | (bytes[at + 1] << 8)];
}

/** Two codes of four bits a byte, neighbours together, from 16 bytes whose halves are apart. */
function writeNibbles(bytes: Uint8Array, at: number, codes: Uint8Array, to: number): void {
  for (let i = 0; i < 8; i++) {
    const a = bytes[at + 2 * i];
    const b = bytes[at + 2 * i + 1];
    codes[to + i] = (a & 15) | ((b & 15) << 4);
    codes[to + 8 + i] = (a >> 4) | (b & 0xf0);
  }
}

/** Code i of 16 bytes: low halves, then high ones. */
function nibble(bytes: Uint8Array, at: number, i: number): number {
  return i < 16 ? bytes[at + i] & 15 : bytes[at + i - 16] >> 4;
}

function fiveBits(bytes: Uint8Array, at: number, i: number): number {
  return nibble(bytes, at + 4, i) | (((bytes[at + (i >> 3)] >> (i & 7)) & 1) << 4);
}

/** Blocks of 32 codes of eight bits around 128. */
function bytesOf(
  scale: (bytes: Uint8Array, at: number) => number,
  code: (bytes: Uint8Array, at: number, i: number) => number,
): Coder {
  return {
    bits: 8,
    size: 32,
    minima: false,
    write(bytes, at, { codes, scales }, block) {
      scales[block] = scale(bytes, at);
      const to = 32 * block;
      for (let i = 0; i < 32; i++) codes[to + i] = code(bytes, at, i) + 128;
    },
  };
}

const sixCodes = new Int8Array(256);
const uneven = codeTables.IQ4_NL;

const coders: Readonly<Record<string, Coder>> = {
  Q4_0: {
    bits: 4,
    size: 32,
    minima: false,
    write(bytes, at, { codes, scales }, block) {
      scales[block] = halfAt(bytes, at);
      writeNibbles(bytes, at + 2, codes, 16 * block);
    },
  },
  Q4_1: {
    bits: 4,
    size: 32,
    minima: true,
    write(bytes, at, { codes, scales, minima }, block) {
      scales[block] = halfAt(bytes, at);
      minima[block] = -halfAt(bytes, at + 2);
      writeNibbles(bytes, at + 4, codes, 16 * block);
    },
  },
  Q5_0: bytesOf(halfAt, (bytes, at, i) => fiveBits(bytes, at + 2, i) - 16),
  Q5_1: {
    bits: 8,
    size: 32,
    minima: true,
    write(bytes, at, { codes, scales, minima }, block) {
      scales[block] = halfAt(bytes, at);
      minima[block] = -halfAt(bytes, at + 2);
      for (let i = 0; i < 32; i++) codes[32 * block + i] = fiveBits(bytes, at + 4, i);
    },
  },
  Q8_0: {
    bits: 8,
    size: 32,
    minima: false,
    write(bytes, at, { codes, scales }, block) {
      scales[block] = halfAt(bytes, at);
      const to = 32 * block;
      for (let i = 0; i < 32; i++) codes[to + i] = bytes[at + 2 + i] ^ 128;
    },
  },
  Q4_K: {
    bits: 4,
    size: 32,
    minima: true,
    write(bytes, at, { codes, scales, minima }, block) {
      writeScales(bytes, at, scales, minima, block);
      for (let pair = 0; pair < 4; pair++) {
        const from = at + 16 + 32 * pair;
        const to = 16 * (block + 2 * pair);
        for (let i = 0; i < 16; i++) {
          const a = bytes[from + 2 * i];
          const b = bytes[from + 2 * i + 1];
          codes[to + i] = (a & 15) | ((b & 15) << 4);
          codes[to + 16 + i] = (a >> 4) | (b & 0xf0);
        }
      }
    },
  },
  Q5_K: {
    bits: 8,
    size: 32,
    minima: true,
    write(bytes, at, { codes, scales, minima }, block) {
      writeScales(bytes, at, scales, minima, block);
      for (let pair = 0; pair < 4; pair++) {
        const from = at + 48 + 32 * pair;
        const to = 32 * (block + 2 * pair);
        for (let i = 0; i < 32; i++) {
          const byte = bytes[from + i];
          const fifth = bytes[at + 16 + i] >> (2 * pair);
          codes[to + i] = (byte & 15) | ((fifth & 1) << 4);
          codes[to + 32 + i] = (byte >> 4) | ((fifth & 2) << 3);
        }
      }
    },
  },
  Q6_K: {
    bits: 8,
    size: 16,
    minima: false,
    write(bytes, at, { codes, scales }, block) {
      sixBits(bytes, at, sixCodes);
      const d = halfAt(bytes, at + 208);
      for (let j = 0; j < 16; j++) scales[block + j] = d * ((bytes[at + 192 + j] << 24) >> 24);
      for (let i = 0; i < 256; i++) codes[16 * block + i] = sixCodes[i] + 128;
    },
  },
  IQ4_NL: bytesOf(halfAt, (bytes, at, i) => uneven[nibble(bytes, at + 2, i)]),
  IQ4_XS: {
    bits: 8,
    size: 32,
    minima: false,
    write(bytes, at, { codes, scales }, block) {
      const d = halfAt(bytes, at);
      for (let j = 0; j < 8; j++) {
        scales[block + j] = d * unevenScale(bytes, at, j);
        const to = 32 * (block + j);
        for (let i = 0; i < 32; i++) codes[to + i] = uneven[nibble(bytes, at + 8 + 16 * j, i)] + 128;
      }
    },
  },
  MXFP4: bytesOf(
    (bytes, at) => 2 ** (bytes[at] - 128),
    (bytes, at, i) => codeTables.MXFP4[nibble(bytes, at + 1, i)],
  ),
};

/** Scales and minima of the eight sub-blocks of Q4_K and Q5_K. */
function writeScales(bytes: Uint8Array, at: number, scales: Float32Array, minima: Float32Array, block: number): void {
  const [d, least] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
  for (let j = 0; j < 8; j++) {
    scales[block + j] = d * subScale(bytes, at + 4, j);
    minima[block + j] = least * subMinimum(bytes, at + 4, j);
  }
}

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
  const coder = Object.hasOwn(coders, type.name) ? coders[type.name] : undefined;
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
  const room: Room = {
    codes: new Uint8Array(outputs * perRow * codeBytes),
    scales: new Float32Array(outputs * perRow),
    minima: new Float32Array(coder.minima ? outputs * perRow : 0),
  };
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
  return coder.minima
    ? { ...room, ...zeroPoints(room, outputs, perRow, bits) }
    : { codes: room.codes, scales: room.scales };
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

/** Whole zero points, packed row by row, and the rest of every block. */
function zeroPoints(
  { scales, minima }: Room,
  outputs: number,
  perRow: number,
  bits: number,
): Required<Pick<CodedParts, 'zeros' | 'rest'>> {
  const most = 2 ** bits - 1;
  const rowBytes = Math.ceil((perRow * bits) / 8);
  const zeros = new Uint8Array(outputs * rowBytes);
  const rest = new Float32Array(outputs * perRow);
  for (let r = 0; r < outputs; r++) {
    for (let b = 0; b < perRow; b++) {
      const i = r * perRow + b;
      const zero = scales[i] === 0 ? 0 : Math.min(most, Math.max(0, Math.round(minima[i] / scales[i])));
      rest[i] = zero * scales[i] - minima[i];
      if (bits === 8) zeros[r * rowBytes + b] = zero;
      else zeros[r * rowBytes + (b >> 1)] |= zero << (4 * (b & 1));
    }
  }
  return { zeros, rest };
}
