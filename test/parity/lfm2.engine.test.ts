/** LFM2 against outputs, gradients and caches of executed reference code (test/golden: lfm2_*). */
import { expect } from 'vitest';
import { relativeToPeak } from './golden.ts';
import { type HeldLayer, testHybrids } from './golden-hybrid.ts';

testHybrids(
  [
    { name: 'lfm2_mixed', lengths: [1, 5, 73, 19], decode: { prompt: 11, total: 18, texts: [0, 1] } },
    { name: 'lfm2_L4_bias', lengths: [1, 3, 71, 23], decode: { prompt: 8, total: 15, texts: [0, 1] } },
    { name: 'lfm2_allconv', lengths: [1, 2, 70, 21], decode: { prompt: 9, total: 15, texts: [0, 1] } },
    { name: 'lfm2_attn_noadjust', lengths: [1, 75, 26], decode: { prompt: 2, total: 11, texts: [0] } },
  ],
  expectProducts,
);

/** The reference also keeps the product that no later position reads. */
function expectProducts({ cache, rows, layer, n }: HeldLayer): number {
  const expected = cache('conv'); // [channels,K]
  if (expected === undefined) return 0;
  const [, , kernel] = expected.shape;
  let compared = 0;
  for (let at = Math.max(0, n - kernel + 1); at < n; at++) {
    const halves = rows('values', at);
    const own = rows('keys', at).flatMap((half, head) => [...half, ...halves[head]]);
    const column = expected.data.filter((_, i) => i % kernel === at - n + kernel);
    expect(relativeToPeak(own, column), `layer ${layer}, position ${at}`).toBeLessThan(2e-5);
    compared++;
  }
  return compared;
}
