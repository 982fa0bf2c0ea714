/** Matrices that lie end to end in an array, each with as many rows as there is room for. */

/** Copies `count` matrices, as far as both arrays have rows of them; other rows of `to` stay as they are. */
export function copyMatrices(from: Float32Array | Int32Array, to: Float32Array | Int32Array, count: number): void {
  if (from.length === to.length) {
    to.set(from);
    return;
  }
  const [size, room] = [from.length / count, to.length / count];
  const both = Math.min(size, room);
  for (let i = 0; i < count; i++) to.set(from.subarray(i * size, i * size + both), i * room);
}

/** The `count` matrices in `length` numbers, cut off or with zeros behind each; the array itself where it has that length. */
export function resizedMatrices(from: Float32Array, count: number, length: number): Float32Array {
  if (from.length === length) return from;
  const resized = new Float32Array(length);
  copyMatrices(from, resized, count);
  return resized;
}
