/**
 * The number formats of GGUF files: how many values and bytes a block has, and the values of its bytes. Layouts as in
 * ggml-common.h; values are products of float32 numbers that fit 24 bits, so that no order of computing changes them. Little-endian.
 */
import { float32FromBfloat16, float32FromFloat16 } from '../safetensors/float-conversion.ts';

/** A format whose values are known. */
export interface BlockType {
  readonly name: string;
  /** Values of a block. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Writes the values of whole blocks, of which `bytes` consists, to `out`, of as many numbers. */
  decode(bytes: Uint8Array, out: Float32Array): void;
}

let halfTable: Float32Array | undefined;

/** All values of half precision, by bit pattern. */
export function halfValues(): Float32Array {
  halfTable ??= float32FromFloat16(Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits));
  return halfTable;
}

/** Four-bit codes of IQ4_NL and IQ4_XS. */
const unevenCodes = Float32Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
/** Twice the values of the four-bit floats of MXFP4. */
const floatCodes = Float32Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** The codes of MXFP4 and of the uneven formats: the values times a scale are the weights. */
export const codeTables = { IQ4_NL: unevenCodes, IQ4_XS: unevenCodes, MXFP4: floatCodes } as const;

/** The six-bit scale of sub-block j of Q4_K and Q5_K: `at` is where their 12 bytes begin. */
export function subScale(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j] & 63 : (bytes[at + j + 4] & 15) | ((bytes[at + j - 4] >> 6) << 4);
}

/** The six-bit minimum of the same. */
export function subMinimum(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j + 4] & 63 : (bytes[at + j + 4] >> 4) | ((bytes[at + j] >> 6) << 4);
}

/** The scale of sub-block j of IQ4_XS, less 32; a block begins at `at`. */
export function unevenScale(bytes: Uint8Array, at: number, j: number): number {
  const high = (bytes[at + 2 + (j >> 2)] >> (2 * (j & 3))) & 3;
  const low = (bytes[at + 4 + (j >> 1)] >> (4 * (j & 1))) & 15;
  return (low | (high << 4)) - 32;
}

/** Codes of 32 values in 16 bytes, low nibbles first, as the formats of 32 values have them. */
function nibble(bytes: Uint8Array, at: number, i: number): number {
  return i < 16 ? bytes[at + i] & 15 : bytes[at + i - 16] >> 4;
}

/** The code of value i of a format of 32 values with a fifth bit: four bytes of these, then 16. */
function fiveBits(bytes: Uint8Array, at: number, i: number): number {
  return nibble(bytes, at + 4, i) | (((bytes[at + (i >> 3)] >> (i & 7)) & 1) << 4);
}

/** The codes −32…31 of a block of Q6_K. */
export function sixBits(bytes: Uint8Array, at: number, codes: Int8Array): void {
  for (let half = 0; half < 2; half++) {
    const [low, high] = [at + 64 * half, at + 128 + 32 * half];
    for (let l = 0; l < 32; l++) {
      const a = bytes[low + l];
      const b = bytes[low + l + 32];
      const h = bytes[high + l];
      const to = 128 * half + l;
      codes[to] = ((a & 15) | ((h & 3) << 4)) - 32;
      codes[to + 32] = ((b & 15) | (((h >> 2) & 3) << 4)) - 32;
      codes[to + 64] = ((a >> 4) | (((h >> 4) & 3) << 4)) - 32;
      codes[to + 96] = ((b >> 4) | ((h >> 6) << 4)) - 32;
    }
  }
}

/** The code of value i of a block of Q4_K (`fifth` absent) or Q5_K: `at` is where the nibbles begin. */
function superCode(bytes: Uint8Array, at: number, fifth: number | undefined, i: number): number {
  const byte = bytes[at + 32 * (i >> 6) + (i & 31)];
  const code = (i & 32) === 0 ? byte & 15 : byte >> 4;
  return fifth === undefined ? code : code | (((bytes[fifth + (i & 31)] >> (i >> 5)) & 1) << 4);
}

/** A format of whole blocks from the function that decodes one. */
function blocks(
  name: string,
  values: number,
  bytes: number,
  decodeBlock: (given: Uint8Array, at: number, out: Float32Array, to: number) => void,
): BlockType {
  return {
    name,
    values,
    bytes,
    decode(given, out) {
      for (let at = 0, to = 0; to < out.length; at += bytes, to += values) decodeBlock(given, at, out, to);
    },
  };
}

function halfAt(bytes: Uint8Array, at: number): number {
  return halfValues()[bytes[at] | (bytes[at + 1] << 8)];
}

/** 32 values of a scale, and a minimum where `minimum` is true, and codes. */
function evenBlocks(
  name: string,
  bytes: number,
  code: (bytes: Uint8Array, at: number, i: number) => number,
  { zero = 0, minimum = false } = {},
): BlockType {
  return blocks(name, 32, bytes, (given, at, out, to) => {
    const scale = halfAt(given, at);
    if (minimum) {
      const least = halfAt(given, at + 2);
      for (let i = 0; i < 32; i++) out[to + i] = scale * code(given, at + 4, i) + least;
    } else for (let i = 0; i < 32; i++) out[to + i] = scale * (code(given, at + 2, i) - zero);
  });
}

/** 256 values in eight sub-blocks, each of a scale and a minimum. @param codes where nibbles begin */
function superBlocks(name: string, bytes: number, codes: number, fifth?: number): BlockType {
  return blocks(name, 256, bytes, (given, at, out, to) => {
    const [d, least] = [halfAt(given, at), halfAt(given, at + 2)];
    for (let j = 0; j < 8; j++) {
      const scale = d * subScale(given, at + 4, j);
      const minimum = least * subMinimum(given, at + 4, j);
      for (let i = 32 * j; i < 32 * j + 32; i++) {
        out[to + i] = scale * superCode(given, at + codes, fifth === undefined ? fifth : at + fifth, i) - minimum;
      }
    }
  });
}

/** Bytes as numbers of 16 bits, aligned. */
function words(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}

const sixCodes = new Int8Array(256);

const types: ReadonlyMap<number, BlockType> = new Map<number, BlockType>([
  [
    0,
    {
      name: 'F32',
      values: 1,
      bytes: 4,
      decode: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
    },
  ],
  [1, { name: 'F16', values: 1, bytes: 2, decode: (bytes, out) => void float32FromFloat16(words(bytes), out) }],
  [2, evenBlocks('Q4_0', 18, nibble, { zero: 8 })],
  [3, evenBlocks('Q4_1', 20, nibble, { minimum: true })],
  [6, evenBlocks('Q5_0', 22, fiveBits, { zero: 16 })],
  [7, evenBlocks('Q5_1', 24, fiveBits, { minimum: true })],
  [8, evenBlocks('Q8_0', 34, (bytes, at, i) => (bytes[at + i] << 24) >> 24)],
  [12, superBlocks('Q4_K', 144, 16)],
  [13, superBlocks('Q5_K', 176, 48, 16)],
  [
    14,
    blocks('Q6_K', 256, 210, (given, at, out, to) => {
      sixBits(given, at, sixCodes);
      const d = halfAt(given, at + 208);
      for (let i = 0; i < 256; i++) out[to + i] = d * ((given[at + 192 + (i >> 4)] << 24) >> 24) * sixCodes[i];
    }),
  ],
  [
    20,
    blocks('IQ4_NL', 32, 18, (given, at, out, to) => {
      const d = halfAt(given, at);
      for (let i = 0; i < 32; i++) out[to + i] = d * unevenCodes[nibble(given, at + 2, i)];
    }),
  ],
  [
    23,
    blocks('IQ4_XS', 256, 136, (given, at, out, to) => {
      const d = halfAt(given, at);
      for (let i = 0; i < 256; i++) {
        const j = i >> 5;
        out[to + i] = d * unevenScale(given, at, j) * unevenCodes[nibble(given, at + 8 + 16 * j, i & 31)];
      }
    }),
  ],
  [30, { name: 'BF16', values: 1, bytes: 2, decode: (bytes, out) => void float32FromBfloat16(words(bytes), out) }],
  [
    39,
    blocks('MXFP4', 32, 17, (given, at, out, to) => {
      const scale = 2 ** (given[at] - 128);
      for (let i = 0; i < 32; i++) out[to + i] = scale * floatCodes[nibble(given, at + 1, i)];
    }),
  ],
]);

/** Formats that are known by name alone. */
const otherNames: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  40: 'NVFP4',
};

/** The format of a number in a file; undefined for one that is not read. */
export function blockType(id: number): BlockType | undefined {
  return types.get(id);
}

/** The names of all formats that are read. */
export function blockTypeNames(): readonly string[] {
  return [...types.values()].map(({ name }) => name);
}

/** How errors name a format that is not read. */
export function otherTypeName(id: number): string {
  return Object.hasOwn(otherNames, id) ? otherNames[id] : `number ${id}`;
}
