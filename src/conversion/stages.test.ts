import { describe, expect, it } from 'vitest';
import { stepsWithin } from './stages.ts';

describe('stepsWithin', () => {
  it('counts what is left after the trial and a second preparation, by steps after the first', () => {
    // A trial of 3.6 s: 2 s of preparation, a slow first step of 1 s, then 0.2 s each.
    expect(stepsWithin(30, 3.6, [1, 0.2, 0.2, 0.2])).toBe(Math.floor((30 - 3.6 - 2) / 0.2));
  });

  it('goes by the median, which one disturbed step does not move', () => {
    expect(stepsWithin(21, 11, [1, 1, 8, 1])).toBe(10);
  });

  it('is 0 where there is no time for steps worth making', () => {
    expect(stepsWithin(4, 3.6, [1, 0.2, 0.2, 0.2])).toBe(0);
    expect(stepsWithin(7, 3, [1, 1, 1])).toBe(4);
    expect(stepsWithin(6.9, 3, [1, 1, 1])).toBe(0);
  });
});
