/** The verdict of bench/versions.ts. */
import { describe, expect, it } from 'vitest';
import { resultOf, takeTurns } from '../../bench/versions/turns.ts';

describe('two versions that take turns', () => {
  it('are compared by the medians of each turn, and slower only where all of them say so', () => {
    const name = { what: 'one token', unit: 'ms' };
    const slow = resultOf(name, [
      [
        [10, 10, 90],
        [11, 11, 2],
      ],
      [[10], [12]],
      [[10], [10.5]],
    ]);
    expect(slow.ratios.map((ratio) => Number(ratio.toFixed(3)))).toEqual([0.909, 0.833, 0.952]);
    expect(slow).toMatchObject({ before: 10, now: 11, slower: true });
    expect(
      resultOf(name, [
        [[10], [12]],
        [[10], [10]],
      ]).slower,
    ).toBe(false);
    expect(resultOf({ ...name, moreIsBetter: true }, [[[10], [12]]])).toMatchObject({ ratios: [1.2], slower: false });
  });

  it('go first in turn, after a measurement of each that is not counted', async () => {
    const order: string[] = [];
    const measure = (name: string, ms: number) => () => {
      order.push(name);
      return Promise.resolve(ms);
    };
    const [result] = await takeTurns(
      [{ what: 'a', unit: 'ms', measure: [measure('before', 2), measure('now', 1)], least: 2 }],
      1,
      0,
    );
    expect(order).toEqual(['before', 'now', 'before', 'now', 'now', 'before']);
    expect(result).toMatchObject({ before: 2, now: 1, ratios: [2], slower: false });
  });
});
