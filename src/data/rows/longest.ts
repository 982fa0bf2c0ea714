/** Row lengths. Not by `Math.max(...lengths)`: arguments lie on the stack, which holds about 120,000. */

/** The longest row's length, but at least `least`. */
export function longestLength(rows: Iterable<{ readonly length: number }>, least = 0): number {
  let longest = least;
  for (const { length } of rows) longest = Math.max(longest, length);
  return longest;
}
