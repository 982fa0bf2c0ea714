/**
 * GGUF's number formats: how many values and bytes a block has, its values, and the codes that products take: 4 or 8 bits per
 * weight, a scale per 16 or 32 inputs. Layouts follow ggml-common.h; values are products of float32 numbers that fit 24 bits,
 * so the order of computing cannot change them. Little-endian.
 */
import { float32FromBfloat16, float32FromFloat16, halfValues } from '../safetensors/float-conversion.ts';
import type { CodeForm } from '../weight-file.ts';

/** A format that can be read. */
export interface BlockType {
  readonly name: string;
  /** Values per block. */
  readonly values: number;
  /** Bytes per block. */
  readonly bytes: number;
  /** Writes the values of `bytes`, which are whole blocks, to `out`. */
  decode(bytes: Uint8Array, out: Float32Array): void;
  /** Turns blocks into codes; absent for floats. */
  readonly coder?: Coder;
}

/** Room for codes, which coders fill. */
interface Room {
  readonly codes: Uint8Array;
  /** The codes, two bytes at a time. */
  readonly pairs: Uint16Array;
  readonly scales: Float32Array;
  /** Empty without minima; otherwise, like the next two, as long as the scales. */
  readonly minima: Float32Array;
  readonly zeros: Uint8Array;
  readonly rest: Float32Array;
}

/** Stored blocks as bytes, and as pairs of bytes, which halve a loop's steps. */
export interface Blocks {
  readonly bytes: Uint8Array;
  readonly pairs: Uint16Array;
}

export function storedBlocks(stored: Uint8Array): Blocks {
  const bytes = stored.byteOffset % 2 === 0 ? stored : stored.slice();
  return { bytes, pairs: new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1) };
}

/** Turns a format's blocks into codes. */
export interface Coder extends CodeForm {
  /** Offsets of a block's half-precision scales. */
  readonly halves: readonly number[];
  /**
   * Writes the block that begins at byte `at`.
   * @param block index in the room of its first block of `size`
   */
  write(blocks: Blocks, at: number, room: Room, block: number): void;
}

/** Room for this many blocks of a form. */
export function roomFor({ bits, size, minima }: CodeForm, blocks: number): Room {
  const codes = new Uint8Array((blocks * size * bits) / 8);
  const count = minima ? blocks : 0;
  return {
    codes,
    pairs: new Uint16Array(codes.buffer),
    scales: new Float32Array(blocks),
    minima: new Float32Array(count),
    zeros: new Uint8Array(count),
    rest: new Float32Array(count),
  };
}

function halfAt(bytes: Uint8Array, at: number): number {
  return halfValues()[bytes[at] | (bytes[at + 1] << 8)];
}

/** IQ4_NL's and IQ4_XS's four-bit codes. */
const unevenCodes = Float32Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
/** Twice the values of MXFP4's four-bit floats. */
const floatCodes = Float32Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** The six-bit scale of sub-block j in Q4_K and Q5_K, whose 12 bytes begin at `at`. */
function subScale(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j] & 63 : (bytes[at + j + 4] & 15) | ((bytes[at + j - 4] >> 6) << 4);
}

/** The six-bit minimum of the same sub-block. */
function subMinimum(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j + 4] & 63 : (bytes[at + j + 4] >> 4) | ((bytes[at + j] >> 6) << 4);
}

/** Scales and minima of Q4_K's and Q5_K's eight sub-blocks. */
function writeScales(bytes: Uint8Array, at: number, { scales, minima }: Room, block: number): void {
  const [d, least] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
  for (let j = 0; j < 8; j++) {
    scales[block + j] = d * subScale(bytes, at + 4, j);
    minima[block + j] = least * subMinimum(bytes, at + 4, j);
  }
}

/** The scale of IQ4_XS's sub-block j, minus 32; the block begins at `at`. */
function unevenScale(bytes: Uint8Array, at: number, j: number): number {
  const high = (bytes[at + 2 + (j >> 2)] >> (2 * (j & 3))) & 3;
  const low = (bytes[at + 4 + (j >> 1)] >> (4 * (j & 1))) & 15;
  return (low | (high << 4)) - 32;
}

/** Writes the codes of bytes that begin at `at`. */
type CodeWriter = (blocks: Blocks, at: number, room: Room, to: number) => void;

/** Packs neighboring four-bit codes into bytes, from 16 bytes, or `width`, that hold them half a block apart. */
function writeNibbles({ pairs }: Blocks, at: number, room: Room, to: number, width = 16): void {
  const quarter = width / 4;
  for (let i = 0, from = at >> 1, target = to >> 1; i < quarter; i++, from += 2, target++) {
    const four = pairs[from] | (pairs[from + 1] << 16);
    const low = four & 0x0f0f0f0f;
    const high = (four >>> 4) & 0x0f0f0f0f;
    const lows = (low | (low >>> 4)) & 0x00ff00ff;
    const highs = (high | (high >>> 4)) & 0x00ff00ff;
    room.pairs[target] = lows | (lows >>> 8);
    room.pairs[target + quarter] = highs | (highs >>> 8);
  }
}

/** Code i from 16 bytes: low halves, then high ones. */
function nibble(bytes: Uint8Array, at: number, i: number): number {
  return i < 16 ? bytes[at + i] & 15 : bytes[at + i - 16] >> 4;
}

/** Values of a table, around 128, by four-bit codes. */
function tableWriter(table: Float32Array): CodeWriter {
  return ({ bytes }, at, { codes }, to) => {
    for (let i = 0; i < 32; i++) codes[to + i] = table[nibble(bytes, at, i)] + 128;
  };
}

/** Five-bit codes, their highest bits stored first. @param shift added to each */
function fiveBitWriter(shift: number): CodeWriter {
  return ({ bytes }, at, { codes }, to) => {
    for (let i = 0; i < 32; i++) {
      const high = (bytes[at + (i >> 3)] >> (i & 7)) & 1;
      codes[to + i] = (nibble(bytes, at + 4, i) | (high << 4)) + shift;
    }
  };
}

const writeUneven = tableWriter(unevenCodes);
const writeFloats = tableWriter(floatCodes);

/** A format's coder. A second half-precision scale, if any, scales minima. */
function coder(bits: 4 | 8, halves: readonly number[], write: Coder['write'], size: 16 | 32 = 32): Coder {
  return { bits, size, minima: halves.length === 2, halves, write };
}

/** Blocks of 32: a scale, then a minimum if the format has them, then codes. */
function scaleFirst(bits: 4 | 8, hasMinima: boolean, writeCodes: CodeWriter): Coder {
  const halves = hasMinima ? [0, 2] : [0];
  return coder(bits, halves, (blocks, at, room, block) => {
    room.scales[block] = halfAt(blocks.bytes, at);
    if (hasMinima) room.minima[block] = -halfAt(blocks.bytes, at + 2);
    writeCodes(blocks, at + 2 * halves.length, room, 4 * bits * block);
  });
}

const coders = {
  Q4_0: scaleFirst(4, false, writeNibbles),
  Q4_1: scaleFirst(4, true, writeNibbles),
  Q5_0: scaleFirst(8, false, fiveBitWriter(112)), // 128 minus the format's 16
  Q5_1: scaleFirst(8, true, fiveBitWriter(0)),
  Q8_0: scaleFirst(8, false, ({ pairs }, at, room, to) => {
    const [from, first] = [at >> 1, to >> 1];
    for (let i = 0; i < 16; i++) room.pairs[first + i] = pairs[from + i] ^ 0x8080;
  }),
  Q4_K: coder(4, [0, 2], (blocks, at, room, block) => {
    writeScales(blocks.bytes, at, room, block);
    for (let two = 0; two < 4; two++) writeNibbles(blocks, at + 16 + 32 * two, room, 16 * (block + 2 * two), 32);
  }),
  Q5_K: coder(8, [0, 2], (blocks, at, room, block) => {
    writeScales(blocks.bytes, at, room, block);
    const { pairs } = blocks;
    for (let two = 0; two < 4; two++) {
      const from = (at + 48 + 32 * two) >> 1;
      const to = 16 * (block + 2 * two);
      for (let i = 0; i < 16; i++) {
        const codes = pairs[from + i];
        const fifths = pairs[((at + 16) >> 1) + i] >> (2 * two);
        room.pairs[to + i] = (codes & 0x0f0f) | ((fifths & 0x0101) << 4);
        room.pairs[to + 16 + i] = ((codes >> 4) & 0x0f0f) | ((fifths & 0x0202) << 3);
      }
    }
  }),
  Q6_K: coder(
    8,
    [208],
    ({ bytes, pairs }, at, room, block) => {
      const d = halfAt(bytes, at + 208);
      for (let j = 0; j < 16; j++) room.scales[block + j] = d * ((bytes[at + 192 + j] << 24) >> 24);
      for (let half = 0; half < 2; half++) {
        const low = (at >> 1) + 32 * half;
        const high = (at >> 1) + 64 + 16 * half;
        for (let l = 0; l < 16; l++) {
          const a = pairs[low + l];
          const b = pairs[low + l + 16];
          const h = pairs[high + l];
          const to = 8 * block + 64 * half + l;
          // 96 is 128 minus the format's 32.
          room.pairs[to] = ((a & 0x0f0f) | ((h & 0x0303) << 4)) + 0x6060;
          room.pairs[to + 16] = ((b & 0x0f0f) | ((h & 0x0c0c) << 2)) + 0x6060;
          room.pairs[to + 32] = (((a >> 4) & 0x0f0f) | (h & 0x3030)) + 0x6060;
          room.pairs[to + 48] = (((b >> 4) & 0x0f0f) | ((h >> 2) & 0x3030)) + 0x6060;
        }
      }
    },
    16,
  ),
  IQ4_NL: scaleFirst(8, false, writeUneven),
  IQ4_XS: coder(8, [0], (blocks, at, room, block) => {
    const d = halfAt(blocks.bytes, at);
    for (let j = 0; j < 8; j++) {
      room.scales[block + j] = d * unevenScale(blocks.bytes, at, j);
      writeUneven(blocks, at + 8 + 16 * j, room, 32 * (block + j));
    }
  }),
  MXFP4: coder(8, [], (blocks, at, room, block) => {
    room.scales[block] = 2 ** (blocks.bytes[at] - 128);
    writeFloats(blocks, at + 1, room, 32 * block);
  }),
};

/** A format with codes. @param bytes per block of `values` */
function coded(name: keyof typeof coders, values: number, bytes: number): BlockType {
  const coder = coders[name];
  const { bits, size, minima } = coder;
  return {
    name,
    values,
    bytes,
    coder,
    decode(stored, out) {
      const blocks = storedBlocks(stored);
      const room = roomFor(coder, values / size);
      const { codes, scales } = room;
      const zero = minima ? 0 : 2 ** (bits - 1);
      for (let at = 0, to = 0; to < out.length; at += bytes) {
        coder.write(blocks, at, room, 0);
        for (let b = 0, i = 0; b < scales.length; b++) {
          const least = minima ? room.minima[b] : 0;
          for (const end = i + size; i < end; i++, to++) {
            const code = bits === 8 ? codes[i] : (codes[i >> 1] >> (4 * (i & 1))) & 15;
            out[to] = (code - zero) * scales[b] - least;
          }
        }
      }
    },
  };
}

/** A format of single floats. */
function float(name: string, bytes: number, decode: BlockType['decode']): BlockType {
  return { name, values: 1, bytes, decode };
}

const types: ReadonlyMap<number, BlockType> = new Map<number, BlockType>([
  [0, float('F32', 4, (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes))],
  [1, float('F16', 2, (bytes, out) => void float32FromFloat16(storedBlocks(bytes).pairs, out))],
  [2, coded('Q4_0', 32, 18)],
  [3, coded('Q4_1', 32, 20)],
  [6, coded('Q5_0', 32, 22)],
  [7, coded('Q5_1', 32, 24)],
  [8, coded('Q8_0', 32, 34)],
  [12, coded('Q4_K', 256, 144)],
  [13, coded('Q5_K', 256, 176)],
  [14, coded('Q6_K', 256, 210)],
  [20, coded('IQ4_NL', 32, 18)],
  [23, coded('IQ4_XS', 256, 136)],
  [30, float('BF16', 2, (bytes, out) => void float32FromBfloat16(storedBlocks(bytes).pairs, out))],
  [39, coded('MXFP4', 32, 17)],
]);

/** Formats known only by name. */
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

/** The format with this id; undefined if it is not supported. */
export function blockType(id: number): BlockType | undefined {
  return types.get(id);
}

/** Names of all supported formats. */
export function blockTypeNames(): readonly string[] {
  return [...types.values()].map(({ name }) => name);
}

/** An unsupported format's name in errors. */
export function otherTypeName(id: number): string {
  return Object.hasOwn(otherNames, id) ? otherNames[id] : `number ${id}`;
}
