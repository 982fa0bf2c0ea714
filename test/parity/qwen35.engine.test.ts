/** Gated DeltaNet: Qwen3.5, Qwen3-Next and OLMo-Hybrid against executed reference code (test/golden: qwen3*, olmohybrid_*). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { deltaNetLength, deltaNetSchema } from '../../src/attention/kinds/delta-net/config.ts';
import { deltaOfSequences } from '../../src/attention/kinds/gated-delta/parallel.ts';
import { groupingOf, ungroupQueries } from '../../src/attention/grouping.ts';
import { vectorJacobian } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { reshape } from '../../src/graph/ops/layout.ts';
import { float32 } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { type HeldLayer, testHybrids } from './golden-hybrid.ts';
import { goldenWeights, runGraph } from './golden-model.ts';

testHybrids(
  [
    { name: 'qwen35_mix31', lengths: [1, 65, 97, 19], decode: { prompt: 10, total: 17, texts: [0, 1] } },
    { name: 'qwen35_mix_ratio1_untied', lengths: [2, 75, 23], decode: { prompt: 5, total: 13, texts: [0] } },
    { name: 'qwen35_linear_only', lengths: [1, 3, 70, 131, 21], decode: { prompt: 9, total: 15, texts: [0, 1] } },
    { name: 'qwen35_full_only', lengths: [1, 70, 22], decode: { prompt: 9, total: 14, texts: [0] } },
    { name: 'qwen3next_mix', lengths: [1, 69, 20], decode: { prompt: 7, total: 13, texts: [0, 1] } },
    { name: 'qwen35_composite', lengths: [1, 17, 66] },
    { name: 'qwen3_in_qwen35', lengths: [1, 22, 70] },
    { name: 'olmohybrid_rope', lengths: [1, 70, 20], decode: { prompt: 6, total: 12, texts: [0, 1] } },
  ],
  expectDeltaNet,
);

/** S of the folded positions and the replayed rows of the ring, and the channels under the filters of the last K − 1 positions. */
function expectDeltaNet({ state, cache, rows, layer, n }: HeldLayer): number {
  const recurrent = cache('recurrent'); // [M,D,E]
  const filtered = ['conv', 'conv_q', 'conv_k', 'conv_v'].flatMap((name) => cache(name) ?? []); // [channels,K or K−1]
  if (recurrent === undefined || filtered.length === 0) return 0;
  const { heads, keyHeads, kernel, ...mixer } = deltaNetSchema.parse(state.model.mixers[layer]);
  const { keyWidth: D, valueWidth: E, group } = mixer;
  const S = Float64Array.from(state.layerSums[layer] ?? []);
  for (let at = n - (n % group); at < n; at++) {
    // All keys, all values, all g, all β.
    const row = rows('keys', at).flatMap((piece) => Array.from(piece));
    for (let head = 0; head < heads; head++) {
      const key = row.slice(head * D, (head + 1) * D);
      const [g, gate] = [0, heads].map((other) => row[heads * (D + E) + other + head]);
      for (let e = 0; e < E; e++) {
        const column = Array.from({ length: D }, (_, d) => (head * D + d) * E + e);
        const value = row[heads * D + head * E + e];
        const held = column.reduce((sum, i, d) => sum + key[d] * Math.exp(g) * S[i], 0);
        for (const [d, i] of column.entries()) S[i] = Math.exp(g) * S[i] + gate * key[d] * (value - held);
      }
    }
  }
  expect(relativeToPeak(S, recurrent.data), `recurrent ${layer}`).toBeLessThan(2e-5);
  const columns = filtered[0].shape[2];
  const channels = filtered.flatMap(({ data }) => Array.from(data));
  for (let at = Math.max(0, n - kernel + 1); at < n; at++) {
    // All queries, all keys, all values; those of key heads as often as heads of values read them.
    const raw = rows('values', at).flatMap((piece) => Array.from(piece));
    const isOnce = (i: number): boolean => Math.floor(i / D) % (heads / keyHeads) === 0;
    const own = raw.filter((_, i) => i >= 2 * heads * D || isOnce(i));
    const column = channels.filter((_, i) => i % columns === at - n + columns);
    expect(relativeToPeak(own, column), `conv ${layer}, position ${at}`).toBeLessThan(2e-5);
  }
  return 2;
}

describe('qwen35_delta_rule_fn', () => {
  const io = readGolden('qwen35_delta_rule_fn');

  it.each([1, 17, 63, 65, 130])('chunks of the rule give its outputs at n = %i, and its gradients at 17', async (n) => {
    const graph = new Graph('rule');
    const given = (name: string) => goldenTensor(io, `n${n}.${name}`);
    const [q, k, v, g, beta] = ['q', 'k', 'v', 'g', 'beta'].map((name) => {
      const input = graph.input(name, 'float32', given(name).shape);
      return input.rank === 3 ? reshape(input, [...input.shape, 1]) : input;
    });
    const grouping = groupingOf({ q, k }, 64);
    const rows = { queries: deltaNetLength(q, true), keys: deltaNetLength(k), values: v, gates: beta, logs: g };
    const out = ungroupQueries(grouping, deltaOfSequences(grouping, rows));
    graph.output('out', out);
    const along = graph.input('dout', 'float32', given('dout').shape);
    const inputs = [q, k, v, g, beta];
    vectorJacobian([out], [along], inputs).forEach((gradient, i) => {
      graph.output(`d${['q', 'k', 'v', 'g', 'beta'][i]}`, gradient);
    });
    const feeds = ['q', 'k', 'v', 'g', 'beta', 'dout'].map((name) => {
      const { shape, data } = given(name);
      return [name, float32(shape, Float32Array.from(data))] as const;
    });
    const results = await runGraph(graph, Object.fromEntries(feeds));
    expect(relativeToPeak(results.out, goldenNumbers(io, `n${n}.zero.out64`))).toBeLessThan(2e-5);
    for (const name of ['dq', 'dk', 'dv', 'dg', 'dbeta'].filter((each) => io.has(`n${n}.zero.${each}`))) {
      expect(relativeToPeak(results[name], goldenNumbers(io, `n${n}.zero.${name}`)), name).toBeLessThan(1e-4);
    }
  });
});

it('a composite folder is read by the names of its text model; vision is left out, the layer that drafts kept', () => {
  const config = goldenConfig('qwen35_composite', z.record(z.string(), z.unknown()));
  const model = describeCausalModel(config);
  const stored = [...readGolden('qwen35_composite', 'weights.safetensors').keys()];
  const left = stored.filter((name) => model.parameterName(name) === undefined);
  expect(left.length).toBeGreaterThan(0);
  expect(left.every((name) => name.startsWith('model.visual.'))).toBe(true);
  expect([...goldenWeights('qwen35_composite', model.parameterName).keys()].sort()).toEqual(
    stored.filter((name) => !left.includes(name)).sort(),
  );
  const drafting = stored.filter((name) => name.startsWith('mtp.'));
  expect(drafting.length).toBeGreaterThan(0);
  for (const name of drafting) expect(model.optionalParameters?.has(name)).toBe(true);
  expect(model.toJson()).toEqual(config);
  const untied = describeCausalModel({ ...config, tie_word_embeddings: undefined });
  expect(untied.parameters.has('lm_head.weight')).toBe(true);
});
