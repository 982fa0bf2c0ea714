/** Lengths of rows. Not by `Math.max(...lengths)`: arguments lie on the stack, which ends at about 120,000 of them. */

/** The length of the longest, and `least` if all are shorter or there is none. */
export function longestLength(rows: Iterable<{ readonly length: number }>, least = 0): number {
  let longest = least;
  for (const { length } of rows) longest = Math.max(longest, length);
  return longest;
}
