/** Seeded random bytes at the speed of a disk: weights whose values do not matter, only their number and their scale. */

/** Marsaglia's xorshift32: enough for weights that are only multiplied. */
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

/** How a tensor is stored in a GGUF file: ggml's type number, values and bytes of a block. */
export interface BlockFormat {
  readonly ggmlType: number;
  readonly blockValues: number;
  readonly blockBytes: number;
  /** Writes the block's scale where it belongs; the random bits around it are the values. */
  readonly setScale: (bytes: Uint8Array, block: number, halfBits: number) => void;
  /** Standard deviation of the stored integers, uniform over what the random bits can be. */
  readonly spread: number;
}

/** Q4_0: half-precision scale d, then 32 nibbles q; a value is d·(q − 8). */
const q4: BlockFormat = {
  ggmlType: 2,
  blockValues: 32,
  blockBytes: 18,
  setScale: setLeadingHalf,
  spread: Math.sqrt((16 * 16 - 1) / 12),
};

/** Q8_0: half-precision scale d, then 32 signed bytes q; a value is d·q. */
const q8: BlockFormat = {
  ggmlType: 8,
  blockValues: 32,
  blockBytes: 34,
  setScale: setLeadingHalf,
  spread: Math.sqrt((256 * 256 - 1) / 12),
};

/**
 * Q4_K: half-precision scale d and minimum m, 6-bit scales and minima of eight sub-blocks, then 256 nibbles q; a value is
 * d·scale·q − m·minimum. Scales and minima are random too: m is 7.5 times d, so that values lie around 0.
 */
const q4k: BlockFormat = {
  ggmlType: 12,
  blockValues: 256,
  blockBytes: 144,
  setScale(bytes, offset, bits) {
    setLeadingHalf(bytes, offset, bits);
    setLeadingHalf(bytes, offset + 2, bits + (3 << 10)); // 8 times as much
  },
  spread: 36.4 * Math.sqrt((16 * 16 - 1) / 12), // with the root of the mean square of scales; without minima
};

export const blockFormats = { q4_0: q4, q8_0: q8, q4_k: q4k } as const;
export type BlockFormatName = keyof typeof blockFormats;

function setLeadingHalf(bytes: Uint8Array, offset: number, halfBits: number): void {
  bytes[offset] = halfBits & 0xff;
  bytes[offset + 1] = halfBits >>> 8;
}

/** The bits of a positive normal half-precision number near `value`; its fraction is cut off. */
export function halfBits(value: number): number {
  const exponent = Math.floor(Math.log2(value));
  if (exponent < -14 || exponent > 15) throw new Error(`${value} is not a normal half-precision number`);
  return ((exponent + 15) << 10) | Math.floor((value / 2 ** exponent - 1) * 1024);
}

/**
 * Random blocks of a matrix, in pieces of at most 4 MiB. The values have standard deviation 1 / √columns, so that
 * products of unit-sized rows stay unit-sized.
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
    for (let block = 0; block < blocks; block++) format.setScale(bytes, block * format.blockBytes, bits);
    yield bytes;
  }
}
