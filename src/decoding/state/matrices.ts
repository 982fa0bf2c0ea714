/** Matrices that lie end to end in an array, each with room for the same number of rows. */

import { stridedOffsets } from '../../graph/ops/layout.ts';

/** Copies `count` matrices, as many rows as both arrays have; leaves other rows of `to` unchanged. */
export function copyMatrices(from: Float32Array | Int32Array, to: Float32Array | Int32Array, count: number): void {
  if (from.length === to.length) {
    to.set(from);
    return;
  }
  const [size, room] = [from.length / count, to.length / count];
  const both = Math.min(size, room);
  for (let i = 0; i < count; i++) to.set(from.subarray(i * size, i * size + both), i * room);
}

/** Exchanges the inner axes of [M,P,n,X]: [M,n,P,X]. */
export function exchanged(from: Float32Array, M: number, P: number, n: number): Float32Array {
  if (P === 1 || n === 1) return from;
  const X = from.length / (M * P * n);
  return new Float32Array(stridedOffsets([M, n, P, X], [P * n * X, X, n * X, 1]).map((at) => from[at]));
}

/** The `count` matrices at `length` numbers, each cut off or zero-padded; the array itself if it has that length. */
export function resizedMatrices(from: Float32Array, count: number, length: number): Float32Array {
  if (from.length === length) return from;
  const resized = new Float32Array(length);
  copyMatrices(from, resized, count);
  return resized;
}
