/** Seeded random bytes at disk speed: weights whose number and scale matter, but not their values, as long as their mean is zero. */

/** Marsaglia's xorshift32: good enough for weights that are only multiplied. */
export class RandomBytes {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  }

  /** Fills words with random bits. */
  fill(words: Uint32Array): void {
    let x = this.#state;
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[i] = x;
    }
    this.#state = x >>> 0 || 1;
  }
}

/** A tensor's storage in a GGUF file: ggml's type number, values and bytes per block. */
export interface BlockFormat {
  readonly ggmlType: number;
  readonly blockValues: number;
  readonly blockBytes: number;
  /** Writes the block's scale in its place; the random bits around it are the values. */
  readonly setScale: (bytes: Uint8Array, block: number, halfBits: number) => void;
  /** Standard deviation of the stored integers, uniform over the range of the random bits. */
  readonly spread: number;
}

/** Standard deviation of uniform integers with this many bits. */
const spreadOf = (bits: number): number => Math.sqrt((4 ** bits - 1) / 12);

/** Blocks of 32 values d·(q − q0) with a leading half-precision scale d; in Q5_0, the fifth bits of the codes come first. */
function plain(ggmlType: number, bits: number): BlockFormat {
  return { ggmlType, blockValues: 32, blockBytes: 2 + 4 * bits, setScale: setLeadingHalf, spread: spreadOf(bits) };
}

/**
 * Blocks of 256 values d·scale·q − m·minimum: half-precision d and m, 6-bit scales and minima of eight sub-blocks, then codes q of
 * 4 bits, or the fifth bits of codes and the others. Scales and minima are also random; m is close to the mean code times d, so
 * values center on 0.
 */
function minimumBlocks(ggmlType: number, bits: 4 | 5): BlockFormat {
  return {
    ggmlType,
    blockValues: 256,
    blockBytes: 16 + 32 * bits,
    setScale(bytes, offset, halfBits) {
      setLeadingHalf(bytes, offset, halfBits);
      setLeadingHalf(bytes, offset + 2, halfBits + ((bits - 1) << 10)); // 2^(bits − 1) times d
    },
    spread: 36.4 * spreadOf(bits), // root mean square of the scales; without minima
  };
}

const q4 = plain(2, 4);
const q5 = plain(6, 5);
const q8 = plain(8, 8);
const q4k = minimumBlocks(12, 4);
const q5k = minimumBlocks(13, 5);

/** F16, 32 at a time: random signs and fractions, one exponent. */
const f16: BlockFormat = {
  ggmlType: 1,
  blockValues: 32,
  blockBytes: 64,
  setScale(bytes, offset, bits) {
    for (let i = offset + 1; i < offset + 64; i += 2) bytes[i] = (bytes[i] & 0x83) | ((bits >>> 8) & 0x7c);
  },
  spread: 1.53,
};

/** Q6_K: 128 low and 64 high parts of codes, 16 signed scales, half-precision d; a value is d·scale·(q − 32). Scales are 0…15. */
const q6k: BlockFormat = {
  ggmlType: 14,
  blockValues: 256,
  blockBytes: 210,
  setScale(bytes, offset, bits) {
    for (let i = 192; i < 208; i++) bytes[offset + i] &= 15;
    setLeadingHalf(bytes, offset + 208, bits);
  },
  spread: 8.8 * spreadOf(6), // root mean square of the scales
};

/** Matrix formats by name: the usual one, and a finer one for some matrices. */
export const blockFormats = {
  q4_0: { usual: q4 },
  q8_0: { usual: q8 },
  q4_k: { usual: q4k },
  q4_k_m: { usual: q4k, finer: q6k },
} as const satisfies Readonly<Record<string, MatrixFormats>>;
export type BlockFormatName = keyof typeof blockFormats;

/** All formats, by ggml's names. */
export const randomFormats = { Q4_0: q4, Q5_0: q5, Q8_0: q8, Q4_K: q4k, Q5_K: q5k, Q6_K: q6k, F16: f16 } as const;

/** A file's matrix formats. */
export interface MatrixFormats {
  readonly usual: BlockFormat;
  /** For the head, and for the value and down projections of the layers that llama.cpp's quantizer picks. */
  readonly finer?: BlockFormat;
}

/** A tensor's format in a model with this many layers, as llama.cpp chooses it. */
export function formatOf({ usual, finer }: MatrixFormats, name: string, layers: number): BlockFormat {
  if (finer === undefined) return usual;
  if (name === 'output.weight') return finer;
  const [, layer] = /^blk\.(\d+)\.(?:attn_v|ffn_down)\.weight$/.exec(name) ?? [];
  if (layer === undefined) return usual;
  const [i, eighth] = [Number(layer), Math.floor(layers / 8)];
  return i < eighth || i >= layers - eighth || (i - eighth) % 3 === 2 ? finer : usual;
}

function setLeadingHalf(bytes: Uint8Array, offset: number, halfBits: number): void {
  bytes[offset] = halfBits & 0xff;
  bytes[offset + 1] = halfBits >>> 8;
}

/** The bits of a positive normal half-precision number near `value`; truncates the fraction. */
export function halfBits(value: number): number {
  const exponent = Math.floor(Math.log2(value));
  if (exponent < -14 || exponent > 15) throw new Error(`${value} is not a normal half-precision number`);
  return ((exponent + 15) << 10) | Math.floor((value / 2 ** exponent - 1) * 1024);
}

/**
 * A matrix's random blocks, in pieces of at most 4 MiB. The values have standard deviation 1 / √columns, so
 * products of unit-sized rows stay unit-sized. Half of the scales are negative: codes −8 … 7 have a mean of −0.5, and rows that all
 * point one way make softmax weights denormal numbers.
 */
export function* randomMatrix(
  format: BlockFormat,
  rows: number,
  columns: number,
  random: RandomBytes,
): Generator<Uint8Array> {
  if (columns % format.blockValues !== 0) {
    throw new Error(`rows of ${columns} values do not divide into blocks of ${format.blockValues}`);
  }
  const bits = halfBits(1 / Math.sqrt(columns) / format.spread);
  const blocksPerPiece = 4 * Math.floor((4 << 20) / format.blockBytes / 4); // whole 32-bit words
  for (let left = (rows * columns) / format.blockValues; left > 0; left -= blocksPerPiece) {
    const blocks = Math.min(left, blocksPerPiece);
    const words = new Uint32Array(Math.ceil((blocks * format.blockBytes) / 4));
    random.fill(words);
    const bytes = new Uint8Array(words.buffer, 0, blocks * format.blockBytes);
    for (let offset = 0; offset < blocks * format.blockBytes; offset += format.blockBytes) {
      format.setScale(bytes, offset, bits | ((bytes[offset + 1] & 128) << 8));
    }
    yield bytes;
  }
}
