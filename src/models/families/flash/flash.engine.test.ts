import { describe, expect, it } from 'vitest';
import { biasBucket, unitWeights } from '../../../attention/kinds/gau/config.ts';
import { Graph, type Value } from '../../../graph/graph.ts';
import { float32, int32, type Tensor } from '../../../graph/tensor.ts';
import { InputParameters } from '../../../nn/parameters.ts';
import { Random } from '../../../random.ts';
import { compile } from '../../../runtime/compile.ts';
import { initializeParameters } from '../../initialize.ts';
import { publishedShape } from '../../presets/presets.ts';
import { type FlashConfigInput, parseFlashConfig } from './config.ts';
import { flashPositions, flashLogits, flashModel } from './model.ts';

const tiny: FlashConfigInput = {
  model_type: 'flash',
  vocab_size: 11,
  dim: 8,
  depth: 2,
  group_size: 4,
  query_key_dim: 6,
};

async function run(graph: Graph, output: Value, feeds: Record<string, Tensor>): Promise<number[]> {
  graph.output('y', output);
  const program = await compile(graph);
  const { y } = await program.run(feeds, ['y']);
  await program.dispose();
  return Array.from(y.data, Number);
}

describe('the configuration', () => {
  it('has the defaults of the paper', () => {
    expect(parseFlashConfig(tiny)).toMatchObject({ causal: true, activation: 'laplace', attention: 'mixed' });
    expect(parseFlashConfig(publishedShape('flash-110m'))).toMatchObject({
      dim: 768,
      depth: 24,
      group_size: 256,
      query_key_dim: 128,
    });
  });

  it('has the paper size as a preset', () => {
    let total = 0;
    for (const { shape } of flashModel(publishedShape('flash-110m')).parameters.values())
      total += shape.reduce((a, b) => a * b, 1);
    expect(total / 1e6).toBeCloseTo(164.7, 1);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['unknown fields', { window: 3 }, /unknown: "window" \(attention\): .* --ignore window$/],
    ['odd widths', { dim: 7 }, /must be even/],
    ['even kernels', { convolution: 8 }, /must be odd/],
    ['no branch at all', { local: false, global: false }, /one of them must be on/],
    ['castling alone', { castling: true }, /castling needs a convolution/],
    ['convolutions of baselines', { attention: 'softmax', convolution: 9 }, /belong to attention "mixed"/],
    ['no value features', { expansion_factor: 0.1 }, /leaves no value features/],
  ])('refuses or names %s', (_, fields, message) => {
    const parse = (): unknown => parseFlashConfig({ ...tiny, ...fields });
    expect(parse).toThrow(message);
    expect(parse).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });
});

describe('Laplace', () => {
  it('has its known values', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [6]);
    const y = await run(graph, unitWeights('laplace', x), {
      x: float32([6], Float32Array.of(-0.5, 0, 0.25, 0.5, Math.SQRT1_2, 1)),
    });
    [0.00001, 0.00609, 0.05257, 0.23142, 0.5, 0.85043].forEach((expected, i) => {
      expect(y[i]).toBeCloseTo(expected, 5);
    });
  });
});

describe('biasBucket', () => {
  it('is exact near and logarithmic far', () => {
    const distances = [-3, 0, 1, 15, 16, 18, 20, 25, 32, 64, 90, 112, 113, 100000];
    const buckets = [0, 0, 1, 15, 16, 16, 17, 19, 21, 26, 29, 30, 31, 31];
    expect(distances.map((distance) => biasBucket(distance, true))).toEqual(buckets);
  });

  it('gives half of the buckets to the future where it is visible', () => {
    expect([-1, -200, 0, 1, 7, 200].map((distance) => biasBucket(distance, false))).toEqual([17, 31, 0, 1, 7, 15]);
  });
});

describe('the whole-sequence baselines', () => {
  it('divide by n once: the original agrees if its queries and bias are n times as large', async () => {
    const n = 7;
    const logits = async (attention: FlashConfigInput['attention'], factor: number): Promise<number[]> => {
      const json = { ...tiny, depth: 1, attention, trained_length: n };
      const config = parseFlashConfig(json);
      const parameters = initializeParameters(flashModel(json), new Random(3));
      const scaleRows = (name: string, count: number): void => {
        const data = parameters.get(`layers.0.${name}`)?.data ?? new Float32Array(0);
        data.subarray(0, count).forEach((x, i) => {
          data[i] = factor * x;
        });
      };
      scaleRows('qk_offset_scale.gamma', 6); // the row of the queries; β is 0
      scaleRows('rel_pos_bias.relative_attention_bias.weight', 32);
      const graph = new Graph();
      const output = flashLogits(config, new InputParameters(graph), graph.input('tokens', 'int32', [1, n]));
      return run(graph, output, {
        ...Object.fromEntries(parameters),
        tokens: int32([1, n], [3, 1, 4, 1, 5, 9, 2]),
      });
    };
    const corrected = await logits('square', 1);
    (await logits('square-original', n)).forEach((x, i) => {
      expect(x).toBeCloseTo(corrected[i], 5);
    });
    const original = await logits('square-original', 1);
    expect(Math.max(...original.map((x, i) => Math.abs(x - corrected[i])))).toBeGreaterThan(1e-3);
  });

  it('never let softmax attend to padding', async () => {
    const config = parseFlashConfig({ ...tiny, attention: 'softmax', causal: false });
    const parameters = initializeParameters(flashModel({ ...tiny, attention: 'softmax' }), new Random(4));
    const logits = async (last: number): Promise<number[]> => {
      const graph = new Graph();
      const tokens = graph.input('tokens', 'int32', [1, 5]);
      const output = flashLogits(config, new InputParameters(graph), tokens, graph.input('mask', 'float32', [1, 5]));
      return run(graph, output, {
        ...Object.fromEntries(parameters),
        tokens: int32([1, 5], [1, 2, 3, 4, last]),
        mask: float32([1, 5], Float32Array.of(1, 1, 1, 1, 0)),
      });
    };
    const real = 4 * tiny.vocab_size;
    expect((await logits(5)).slice(0, real)).toEqual((await logits(9)).slice(0, real));
  });
});

describe('positions', () => {
  it('are sines, then cosines', () => {
    const { sinusoids } = flashPositions(parseFlashConfig(tiny)).at([0, 3], 1, 2);
    expect(sinusoids.shape).toEqual([1, 2, 8]);
    const angles = [0, 1, 2, 3].map((i) => 3 * 10000 ** (-i / 4));
    const expected = [0, 0, 0, 0, 1, 1, 1, 1, ...angles.map(Math.sin), ...angles.map(Math.cos)];
    expected.forEach((value, i) => {
      expect(Number(sinusoids.data[i])).toBeCloseTo(value, 6);
    });
  });
});

describe('random parameters', () => {
  it('are drawn as PyTorch draws them', () => {
    const model = flashModel({ ...tiny, convolution: 9, norm: 'layernorm' });
    const parameters = initializeParameters(model, new Random(1));
    const largest = (name: string): number => Math.max(...(parameters.get(name)?.data ?? [Number.NaN]).map(Math.abs));
    const bounds: [string, number][] = [
      ['layers.0.to_hidden.0.weight', 1 / Math.sqrt(8)],
      ['layers.1.to_qk.0.weight', 1 / Math.sqrt(8)],
      ['layers.0.to_out.weight', 1 / Math.sqrt(16)],
      ['layers.1.dwconv.weight', 1 / 3],
    ];
    for (const [name, bound] of bounds) {
      expect(largest(name), name).toBeLessThanOrEqual(bound);
      expect(largest(name), name).toBeGreaterThan(bound / 2);
    }
    expect(largest('layers.0.qk_offset_scale.beta')).toBe(0);
    expect(largest('layers.0.norm.bias')).toBe(0);
    expect(largest('layers.0.norm.weight')).toBe(1);
    expect(largest('abs_pos_emb.scale')).toBe(1);
    expect([...parameters.keys()]).toEqual([...model.parameters.keys()]);
  });
});
