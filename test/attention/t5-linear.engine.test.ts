/** The linear attentions of T5 against golden outputs and gradients (test/golden: linattn_t5_*). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  goldenConfig,
  type GoldenTensor,
  goldenNumbers,
  goldenTensor,
  readGolden,
  relativeToPeak,
} from '../parity/golden.ts';
import { runGraph } from '../parity/golden-model.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph, liveNodes, type Value } from '../../src/graph/graph.ts';
import { sum } from '../../src/graph/ops/contraction.ts';
import { mul } from '../../src/graph/ops/elementwise.ts';
import { float32, type Tensor } from '../../src/graph/tensor.ts';
import { reshape, transpose } from '../../src/graph/ops/layout.ts';
import type { MixerParameterValues } from '../../src/attention/mixer.ts';
import { mixBidirectional, mixCross } from '../../src/attention/mixers.ts';
import type { Scoring } from '../../src/attention/scoring.ts';
import { t5LinearParallel, t5LinearSchema } from '../../src/attention/kinds/t5-linear/forms.ts';

const caseSchema = z.object({
  group_size: z.int(),
  relative_attention_max_distance: z.int(),
  bidirectional_buckets: z.boolean(),
  variants: z.array(
    z.object({
      n: z.int(),
      prefix: z.string(),
      local: z.boolean(),
      global_weight: z.union([z.literal('alpha'), z.literal(1)]).nullable(),
      conv: z.int().nullable(),
    }),
  ),
});

describe.each(['encoder', 'decoder', 'cross', 'cross_uneven'])('linattn_t5_%s', (form) => {
  const name = `linattn_t5_${form}`;
  const io = readGolden(name);
  const config = goldenConfig(name, caseSchema);

  it.each(config.variants)('$prefix', async ({ n, prefix, local, global_weight, conv }) => {
    const cross = form.startsWith('cross');
    const mixer = t5LinearSchema.parse({
      kind: 't5-linear',
      group: config.group_size,
      local: local ? {} : null,
      global: global_weight === null ? null : { scale: global_weight === 1 ? 'one' : 'learned' },
      convolution: conv === null || cross ? null : { kernel: conv },
      padding: 'read',
    });
    const graph = new Graph(prefix);
    const feeds: Record<string, Tensor> = {};
    const inputs = new Map<string, Value>();
    const input = (key: string, stored: string, shape?: readonly number[]): Value => {
      const { shape: own, data } = goldenTensor(io, stored);
      feeds[key] = float32(shape ?? own, Float32Array.from(data));
      const value = graph.input(key, 'float32', feeds[key].shape);
      inputs.set(key, value);
      return value;
    };
    const heads = (key: string): Value => transpose(input(key, `n${n}.${key}`), [0, 2, 1, 3]); // [B,n,H,D]
    const positions = { q: heads('q'), k: heads('k'), v: heads('v') };
    const mask = input('mask', `n${n}.key_mask`);
    const [, H] = goldenTensor(io, `n${n}.q`).shape;
    const parameters: MixerParameterValues = {
      ...(global_weight === 'alpha' && { global_factor: input('alpha', 'alpha') }),
      ...(mixer.convolution !== null && { 'dwconv.weight': input('conv', `conv${conv}`, [H, 1, Number(conv), 1]) }),
    };
    const table = local && !cross ? input('bias_table', 'bias_table') : undefined;
    const scheme = { farthest: config.relative_attention_max_distance, causal: !config.bidirectional_buckets };
    const scoring: Scoring = {
      scale: 1,
      bias: table && { table, scheme: { ...scheme, buckets: Number(table.shape[0]) } },
    };
    const mixed = cross
      ? mixCross(mixer, positions, mask, parameters, scoring)
      : form === 'encoder'
        ? mixBidirectional(mixer, positions, mask, parameters, scoring)
        : t5LinearParallel(mixer, { ...positions, parameters, scoring }, mask);
    const out = goldenTensor(io, `${prefix}.out`);
    const flat = reshape(mixed, out.shape);
    graph.output('out', flat);
    const loss = sum(mul(flat, input('dout', `n${n}.dout`)));
    const wanted = [...inputs].filter(([key]) => goldenGradient(io, prefix, key) !== undefined);
    expect(wanted.length).toBeGreaterThan(2);
    gradients(
      loss,
      wanted.map(([, value]) => value),
    ).forEach((gradient, i) => {
      graph.output(`d${wanted[i][0]}`, gradient);
    });

    // The mask of a decoder's global branch is read by nothing, and programs refuse feeds that are not.
    const read = new Set(liveNodes(graph.outputs.values()).flatMap((node) => node.inputs));
    const fed = Object.entries(feeds).filter(([key]) => read.has(inputs.get(key) ?? loss));
    const results = await runGraph(graph, Object.fromEntries(fed));
    expect(relativeToPeak(results.out, goldenNumbers(io, `${prefix}.out`))).toBeLessThan(2e-5);
    for (const [key] of wanted) {
      const expected = goldenGradient(io, prefix, key) ?? out;
      expect(relativeToPeak(results[`d${key}`], expected.data), key).toBeLessThan(2e-4);
    }
  });
});

/** Golden names say d<input>. */
function goldenGradient(io: ReadonlyMap<string, GoldenTensor>, prefix: string, key: string): GoldenTensor | undefined {
  return io.get(`${prefix}.d${key}`);
}
