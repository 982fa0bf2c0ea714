/** The rows that closed groups left, of one layer and sequence: a memory that grows group by group. */
import { resizedMatrices } from './matrices.ts';

/** Rows a memory is enlarged by at least; it also grows by a quarter, so that copies stay rare. */
const growth = 64;

/** M matrices of `count` rows of keys and of values, with room for more. */
export class GroupRows {
  /** Rows in use per matrix. */
  count = 0;
  /** [M,capacity,D] */
  keys: Float32Array = new Float32Array(0);
  /** [M,capacity,E] */
  values: Float32Array = new Float32Array(0);
  readonly #heads: number;
  readonly #keyWidth: number;
  readonly #valueWidth: number;

  /**
   * @param heads M
   * @param keyWidth D
   * @param valueWidth E
   */
  constructor(heads: number, keyWidth: number, valueWidth: number) {
    this.#heads = heads;
    this.#keyWidth = keyWidth;
    this.#valueWidth = valueWidth;
  }

  /** Rows per matrix that there is room for. */
  get capacity(): number {
    return this.keys.length / (this.#heads * this.#keyWidth);
  }

  get byteLength(): number {
    return this.keys.byteLength + this.values.byteLength;
  }

  /** Makes room for `count` rows in all. */
  reserve(count: number): void {
    const held = this.capacity;
    if (count <= held) return;
    const size = Math.ceil(Math.max(count, held * 1.25) / growth) * growth;
    this.keys = this.padded('keys', size);
    this.values = this.padded('values', size);
  }

  /** Puts `count` rows of zeros in place of all. */
  make(count: number): void {
    this.keys = new Float32Array(0);
    this.values = new Float32Array(0);
    this.reserve(count);
    this.count = count;
  }

  /** @param rows [M,n,D+E]: key and value of each new row next to each other */
  append(rows: Float32Array): void {
    const [M, D, E] = [this.#heads, this.#keyWidth, this.#valueWidth];
    const n = rows.length / (M * (D + E));
    this.reserve(this.count + n);
    for (let head = 0; head < M; head++) {
      for (let row = 0; row < n; row++) {
        const start = (head * n + row) * (D + E);
        const place = head * this.capacity + this.count + row;
        this.keys.set(rows.subarray(start, start + D), place * D);
        this.values.set(rows.subarray(start + D, start + D + E), place * E);
      }
    }
    this.count += n;
  }

  /** The rows in use followed by zeros, [M,size,width]; the array itself where it has that size. */
  padded(part: 'keys' | 'values', size: number): Float32Array {
    const width = part === 'keys' ? this.#keyWidth : this.#valueWidth;
    return resizedMatrices(this[part], this.#heads, this.#heads * size * width);
  }

  /** An independent copy. */
  fork(): GroupRows {
    const copy = new GroupRows(this.#heads, this.#keyWidth, this.#valueWidth);
    copy.count = this.count;
    copy.keys = this.keys.slice();
    copy.values = this.values.slice();
    return copy;
  }
}
