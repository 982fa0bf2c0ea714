/** Granite 4 H, Falcon-H1 and SmolLM3 against executed reference code (test/golden: granite4h_*, falconh1_*, smollm3_*). */
import { expect } from 'vitest';
import { mamba2Schema } from '../../src/attention/kinds/mamba2/config.ts';
import { relativeToPeak } from './golden.ts';
import { type HeldLayer, testHybrids } from './golden-hybrid.ts';

testHybrids(
  [
    { name: 'granite4h_mix', lengths: [1, 3, 70, 21], decode: { prompt: 18, total: 24, texts: [0, 1] } },
    { name: 'granite4h_mamba_only', lengths: [1, 71, 23], decode: { prompt: 5, total: 12, texts: [0, 1] } },
    { name: 'falconh1_rmsnorm', lengths: [19], decode: { prompt: 4, total: 9, texts: [0] } },
    { name: 'falconh1_nonorm', lengths: [1, 70, 21], decode: { prompt: 9, total: 15, texts: [0, 1] } },
    { name: 'smollm3_nope', lengths: [1, 70, 20], decode: { prompt: 6, total: 11, texts: [0, 1] } },
    { name: 'granite4h_rope', lengths: [20], decode: { prompt: 4, total: 9, texts: [0] } },
  ],
  expectMamba,
);

/** S of the folded positions and those of the ring, and the channels under the filters of the last K − 1 positions. */
function expectMamba({ state, cache, rows, layer, n }: HeldLayer): number {
  const [recurrent, conv] = [cache('recurrent'), cache('conv')]; // [H,P,N], [channels,K]
  if (recurrent === undefined || conv === undefined) return 0;
  const mixer = mamba2Schema.safeParse(state.model.mixers[layer]).data;
  if (mixer === undefined) return 0;
  const { heads, headWidth: P, state: N, groups, group, kernel } = mixer;
  const R = heads / groups;
  const folded = state.layerSums[layer] ?? []; // [Γ,RP,N]
  const S = Float64Array.from({ length: heads * P * N }, (_, i) => {
    const [head, p, s] = [Math.floor(i / (P * N)), Math.floor(i / N) % P, i % N];
    return folded[(head * P + p) * N + s];
  });
  for (let at = n - (n % group); at < n; at++) {
    const [keys, values] = [rows('keys', at), rows('values', at)];
    S.forEach((held, i) => {
      const [head, p, s] = [Math.floor(i / (P * N)), Math.floor(i / N) % P, i % N];
      const [of, r] = [Math.floor(head / R), head % R];
      S[i] = Math.exp(keys[of][N + r]) * held + keys[of][s] * values[of][r * P + p];
    });
  }
  expect(relativeToPeak(S, recurrent.data), `recurrent ${layer}`).toBeLessThan(2e-5);
  for (let at = Math.max(0, n - kernel + 1); at < n; at++) {
    const [keys, values] = [rows('keys', at), rows('values', at)];
    const own = [
      values.map((row) => row.slice(R * P)),
      keys.map((row) => row.slice(N + R, 2 * N + R)),
      keys.map((row) => row.slice(2 * N + R, 3 * N + R)),
    ].flat(2);
    const column = conv.data.filter((_, i) => i % kernel === at - n + kernel);
    expect(relativeToPeak(own, column), `conv ${layer}, position ${at}`).toBeLessThan(2e-5);
  }
  return 2;
}
