/** Attention with sink logits against outputs and gradients of executed gpt-oss code (test/golden: gptoss_sinks). */
import { describe, expect, it } from 'vitest';
import { parseMixer } from '../../src/attention/mixers.ts';
import { type Problem, referenceOutput, runGraph, separate } from '../attention/mixer-problem.ts';
import { goldenNumbers, readGolden, relativeToPeak } from './golden.ts';

const [H, M, D, width] = [4, 2, 8, 16];
const io = readGolden('gptoss_sinks');
const weights = readGolden('gptoss_sinks', 'weights.safetensors');

/** rows [n,in] × a stored matrix [out,in], plus its bias. */
function linear(rows: Float64Array, inner: number, name: string): Float64Array {
  const [weight, bias] = [goldenNumbers(weights, `${name}.weight`), goldenNumbers(weights, `${name}.bias`)];
  return Float64Array.from({ length: (rows.length / inner) * bias.length }, (_, at) => {
    const [row, column] = [Math.floor(at / bias.length), at % bias.length];
    return rows
      .subarray(row * inner, (row + 1) * inner)
      .reduce((sum, x, i) => sum + x * weight[column * inner + i], bias[column]);
  });
}

/** Rows [n,heads·D] turned by their position: halves of a head form pairs. */
function turned(rows: Float64Array, heads: number): Float64Array {
  const frequencies = goldenNumbers(io, 'rope.inv_freq64');
  const [size] = goldenNumbers(io, 'rope.attention_scaling64');
  return rows.map((x, at) => {
    const channel = at % D;
    const angle = Math.floor(at / (heads * D)) * frequencies[channel % (D / 2)];
    const other = channel < D / 2 ? -rows[at + D / 2] : rows[at - D / 2];
    return size * (x * Math.cos(angle) + other * Math.sin(angle));
  });
}

/** The layer on both texts of a batch, which are the same. */
function problemOf(layer: number, n: number): Problem {
  const hidden = goldenNumbers(io, `n${n}.hidden_states`);
  const project = (name: string): Float64Array => linear(hidden, width, `model.layers.${layer}.self_attn.${name}`);
  const twice = (rows: Float64Array, heads: number): Float64Array[] => {
    const [text] = separate(Float64Array.of(...rows, ...rows), heads, D);
    return [text, text];
  };
  const window = { kind: 'window', group: 1, window: 6, sinks: 0, sinkLogit: true };
  return {
    config: parseMixer(layer === 0 ? window : { kind: 'softmax', sinkLogit: true }),
    ...{ heads: { heads: H, keyValueHeads: M }, D, E: D, m: n, n, masks: undefined },
    q: twice(turned(project('q_proj'), H), H),
    k: twice(turned(project('k_proj'), M), M),
    v: twice(project('v_proj'), M),
    parameters: new Map([['sinks', goldenNumbers(weights, `model.layers.${layer}.self_attn.sinks`)]]),
  };
}

describe.each([
  { layer: 0, name: 'sliding' },
  { layer: 1, name: 'full' },
])('$name attention', ({ layer }) => {
  const attention = `model.layers.${layer}.self_attn`;
  const projected = (mixed: ArrayLike<number>): Float64Array =>
    linear(Float64Array.from(mixed).subarray(0, mixed.length / 2), H * D, `${attention}.o_proj`);

  it.each([1, 18, 70])('has the reference outputs at n = %i', async (n) => {
    const problem = problemOf(layer, n);
    const mixed = referenceOutput(problem);
    const result = await runGraph(problem, new Float64Array(mixed.length));
    if (n === 18)
      expect(relativeToPeak(projected(mixed), goldenNumbers(io, `n18.layer${layer}.out64`))).toBeLessThan(1e-7);
    expect(relativeToPeak(projected(mixed), goldenNumbers(io, `n${n}.layer${layer}.out`))).toBeLessThan(2e-6);
    expect(relativeToPeak(projected(result('out')), goldenNumbers(io, `n${n}.layer${layer}.out`))).toBeLessThan(2e-5);
  });

  it('has the reference gradients of the logits and of values', async () => {
    const dout = goldenNumbers(io, 'n18.dout');
    const weight = goldenNumbers(weights, `${attention}.o_proj.weight`); // [width,H·D]
    const upstream = Float64Array.from({ length: 18 * H * D }, (_, at) =>
      dout
        .subarray(Math.floor(at / (H * D)) * width)
        .subarray(0, width)
        .reduce((sum, x, i) => sum + x * weight[i * H * D + (at % (H * D))], 0),
    );
    const result = await runGraph(problemOf(layer, 18), Float64Array.of(...upstream, ...upstream));
    const sinks = Float64Array.from(result('dsinks'), (x) => x / 2);
    expect(relativeToPeak(sinks, goldenNumbers(io, `grad.${attention}.sinks`))).toBeLessThan(2e-5);
    const values = Float64Array.from({ length: M * D }, (_, channel) =>
      result('dv').reduce((sum, x, i) => (i % (M * D) === channel ? sum + x / 2 : sum), 0),
    );
    expect(relativeToPeak(values, goldenNumbers(io, `grad.${attention}.v_proj.bias`))).toBeLessThan(2e-5);
  });
});
