/** Codes packed into words, and eight-bit floats, as quantized folders store them. */

/** How 32-bit words hold codes. */
interface WordLayout {
  readonly bits: 4 | 8;
  /** Shape of the words. */
  readonly shape: readonly [rows: number, columns: number];
  /** The axis along which a word holds several codes. */
  readonly axis: 0 | 1;
  /** Position in a word of its code j. Default: j, low bits first. */
  readonly order?: readonly number[];
}

/** AWQ's order of a word's eight columns. */
export const awqOrder: readonly number[] = [0, 2, 4, 6, 1, 3, 5, 7];

/** One code per byte, row by row. */
export function unpackedCodes(words: Uint32Array, { bits, shape, axis, order }: WordLayout): Uint8Array {
  const [rows, columns] = shape;
  const each = 32 / bits;
  const mask = 2 ** bits - 1;
  const codes = new Uint8Array(words.length * each);
  const width = axis === 1 ? columns * each : columns;
  for (let j = 0; j < each; j++) {
    const place = order?.[j] ?? j;
    for (let r = 0, at = 0; r < rows; r++) {
      const first = axis === 1 ? r * width + place : (r * each + place) * width;
      const step = axis === 1 ? each : 1;
      for (let c = 0, to = first; c < columns; c++, at++, to += step) codes[to] = (words[at] >>> (bits * j)) & mask;
    }
  }
  return codes;
}

/** Rows and columns transposed together, so that both stay in the cache. */
const tile = 64;

/** Writes [rows, columns] transposed, [columns, rows], to `into`, and returns it. */
export function turned<T extends Uint8Array | Float32Array>(values: T, into: T, rows: number, columns: number): T {
  for (let top = 0; top < rows; top += tile) {
    for (let left = 0; left < columns; left += tile) {
      for (let r = top; r < Math.min(top + tile, rows); r++) {
        for (let c = left; c < Math.min(left + tile, columns); c++) into[c * rows + r] = values[r * columns + c];
      }
    }
  }
  return into;
}

/** Eight-bit float values: a sign, four exponent bits, three fraction bits, no infinities (E4M3). */
export function float8Values(): Float32Array {
  return Float32Array.from({ length: 256 }, (_, code) => {
    const [sign, exponent, fraction] = [code < 128 ? 1 : -1, (code >> 3) & 15, code & 7];
    if (exponent === 15 && fraction === 7) return Number.NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7));
  });
}

/** Inputs sorted by group, in order within each. */
export function sortedInputs(groups: Int32Array): Int32Array {
  return Int32Array.from(groups.keys()).sort((a, b) => groups[a] - groups[b] || a - b);
}

/** Rows of codes with their columns reordered. */
export function sortedColumns(codes: Uint8Array, order: Int32Array): Uint8Array {
  const sorted = new Uint8Array(codes.length);
  for (let row = 0; row < codes.length; row += order.length) {
    for (let k = 0; k < order.length; k++) sorted[row + k] = codes[row + order[k]];
  }
  return sorted;
}
