import { describe, expect, it } from 'vitest';
import { splitDocuments } from './split.ts';

const documents = Array.from({ length: 10 }, (_, index) => index);

describe('splitDocuments', () => {
  it.each([
    [0, 0],
    [3, 3],
    [0.25, 3],
    [0.01, 1],
    [9, 9],
  ])('holds out %d: the last %d of 10', (heldOut, count) => {
    const split = splitDocuments(documents, { heldOut });
    expect(split.heldOut).toEqual(documents.slice(10 - count));
    expect([...split.training, ...split.heldOut]).toEqual(documents);
  });

  it.each([10, 0.99, -1, 1.5, Number.NaN])('refuses to hold out %d of 10', (heldOut) => {
    expect(() => splitDocuments(documents, { heldOut })).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});
