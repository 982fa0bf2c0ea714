/** Ranges of code points as sequences of byte ranges in UTF-8. */
import type { CodePoints } from './pattern.ts';

/** A byte from the first to the last, both included. */
export type ByteRange = readonly [first: number, last: number];

/** Last code points of each length in bytes. */
const lengths = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** Sequences of byte ranges that together match the code points of a range, surrogates excepted. */
export function utf8Ranges([first, last]: CodePoints): ByteRange[][] {
  if (first > last) return [];
  if (first < 0xd800 && last > 0xdfff) return [...utf8Ranges([first, 0xd7ff]), ...utf8Ranges([0xe000, last])];
  if (first >= 0xd800 && first <= 0xdfff) return utf8Ranges([0xe000, last]);
  if (last >= 0xd800 && last <= 0xdfff) return utf8Ranges([first, 0xd7ff]);
  const boundary = lengths.find((length) => first <= length && length < last);
  if (boundary !== undefined) return [...utf8Ranges([first, boundary]), ...utf8Ranges([boundary + 1, last])];
  if (last <= 0x7f) return [[[first, last]]];
  // Cut so that in each piece the bytes after the first that differs run over all of their values.
  for (let bits = 6; bits <= 18; bits += 6) {
    const mask = (1 << bits) - 1;
    if (first >> bits === last >> bits) continue;
    if ((first & mask) !== 0) return [...utf8Ranges([first, first | mask]), ...utf8Ranges([(first | mask) + 1, last])];
    if ((last & mask) !== mask)
      return [...utf8Ranges([first, (last & ~mask) - 1]), ...utf8Ranges([last & ~mask, last])];
  }
  const from = utf8(first);
  const to = utf8(last);
  return [from.map((byte, place): ByteRange => [byte, to[place]])];
}

function utf8(codePoint: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(codePoint))];
}
