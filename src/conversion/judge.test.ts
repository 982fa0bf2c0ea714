import { describe, expect, it } from 'vitest';
import { isBetter, judgedPrompts, stretches } from './judge.ts';

const of = (perplexity: number, kl: number) => ({ perplexity, agreement: { greedyLength: 1, sameNext: 0.5, kl } });

describe('a judge', () => {
  it.each([
    ['perplexity', of(6.9, 0.5), of(7, 0.1), true],
    ['perplexity', of(7, 0), of(7, 0.1), false],
    ['generation', of(6.9, 0.5), of(7, 0.1), false],
    ['generation', of(7.5, 0.09), of(7, 0.1), true],
    ['both', of(6.9, 0.5), of(7, 0.1), false],
    ['both', of(6.9, 0.11), of(7, 0.1), true],
    ['both', of(7.5, 0.09), of(7, 0.1), false],
    ['both', of(Number.NaN, 0.09), of(7, 0.1), false],
  ] as const)('by %s, of %j and %j', (judge, trial, best, better) => {
    expect(isBetter(judge, trial, best)).toBe(better);
  });

  it('finds any model better than none', () => {
    expect(isBetter('both', of(Number.POSITIVE_INFINITY, 9), undefined)).toBe(true);
  });

  it('reads no more of what is written than of validation text, within bounds', () => {
    const prompts = (tokens: number): number =>
      judgedPrompts({ validation: { windows: [{ tokens: new Int32Array(tokens), scoredFrom: 1 }], documents: 1 } }, 96);
    expect([prompts(10), prompts(6144), prompts(1e6)]).toEqual([16, 32, 64]);
  });

  it('takes prompts of one length, or the whole text where that is shorter', () => {
    const text = Int32Array.from({ length: 10 }, (_, i) => i);
    expect(stretches(text, [99], 5).map(({ tokens }) => [...tokens])).toEqual([
      [99, 0, 1, 2, 3],
      [99, 4, 5, 6, 7],
    ]);
    expect(stretches(text, [], 64).map(({ tokens }) => tokens.length)).toEqual([10]);
  });
});
