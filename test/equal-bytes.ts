/**
 * Set up for every test file: `toEqual` compares typed arrays of one type as bytes first. Element by element, as it does where bytes
 * differ, it takes microseconds for each.
 */
import { expect } from 'vitest';

expect.addEqualityTesters([
  (a: unknown, b: unknown): true | undefined => {
    if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b) || a.constructor !== b.constructor) return undefined;
    const [one, other] = [a, b].map((view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength));
    return one.equals(other) ? true : undefined;
  },
]);
