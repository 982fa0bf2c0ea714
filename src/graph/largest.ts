/** Indices of a list's largest numbers. */

/** Index of the largest value, the first one on ties. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * Indices of the k largest numbers (or all, if fewer), largest first, ties by lower index. One pass compares most numbers
 * only with the smallest kept: k is small against their count.
 */
export function largest(numbers: ArrayLike<number>, k: number): Int32Array {
  const indices = new Int32Array(Math.min(k, numbers.length));
  let kept = 0;
  let smallest = k === 0 ? Infinity : -Infinity;
  for (let index = 0; index < numbers.length; index++) {
    const value = numbers[index];
    if (kept === indices.length && !(value > smallest)) continue;
    let place = kept < indices.length ? kept++ : kept - 1;
    for (; place > 0 && numbers[indices[place - 1]] < value; place--) indices[place] = indices[place - 1];
    indices[place] = index;
    smallest = numbers[indices[kept - 1]];
  }
  return indices;
}
