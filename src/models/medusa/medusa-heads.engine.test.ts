import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomParameters, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { Graph } from '../../graph/graph.ts';
import { float32, type Tensor } from '../../graph/tensor.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { MedusaHeads } from './medusa-heads.ts';
import { initializeMedusa, isMedusaParameter, medusaParameters } from './medusa.ts';
import { largest } from '../../graph/largest.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 4, kernel: 5 })]);
const { width, vocabulary } = model.sizes;

function floats(parameters: ReadonlyMap<string, Tensor>): Map<string, Tensor<'float32'>> {
  return new Map([...parameters].map(([name, { shape, data }]) => [name, float32(shape, Array.from(data, Number))]));
}

function randomHeads(config: { heads: number; layers: number }, seed: number): Map<string, Tensor<'float32'>> {
  const random = new Random(seed);
  return new Map(
    [...medusaParameters(config, model.sizes)].map(([name, { shape }]) => [
      name,
      float32(
        shape,
        Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.2 * random.normal()),
      ),
    ]),
  );
}

/** The formula of the heads in float64. */
function naiveLogits(
  config: { heads: number; layers: number },
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  head: number,
  hidden: ArrayLike<number>,
): number[] {
  const of = (name: string): Float32Array => {
    const found = parameters.get(name);
    if (found === undefined) throw new Error(`no ${name}`);
    return found.data;
  };
  const product = (matrix: Float32Array, x: readonly number[]): number[] =>
    Array.from({ length: matrix.length / x.length }, (_, row) =>
      x.reduce((sum, value, column) => sum + value * matrix[row * x.length + column], 0),
    );
  let x = Array.from(hidden);
  for (let layer = 0; layer < config.layers; layer++) {
    const bias = of(`medusa_head.${head}.${layer}.linear.bias`);
    const inner = product(of(`medusa_head.${head}.${layer}.linear.weight`), x).map((value, i) => value + bias[i]);
    x = x.map((value, i) => value + inner[i] / (1 + Math.exp(-inner[i])));
  }
  return product(of(`medusa_head.${head}.${config.layers}.weight`), x);
}

describe('Medusa heads', () => {
  it('have weights of their own in every block', () => {
    expect([...medusaParameters({ heads: 2, layers: 2 }, model.sizes).keys()]).toEqual([
      'medusa_head.0.0.linear.weight',
      'medusa_head.0.0.linear.bias',
      'medusa_head.0.1.linear.weight',
      'medusa_head.0.1.linear.bias',
      'medusa_head.0.2.weight',
      'medusa_head.1.0.linear.weight',
      'medusa_head.1.0.linear.bias',
      'medusa_head.1.1.linear.weight',
      'medusa_head.1.1.linear.bias',
      'medusa_head.1.2.weight',
    ]);
    expect([...model.parameters.keys()].filter(isMedusaParameter)).toEqual([]);
  });

  it.each([
    { heads: 0, layers: 1 },
    { heads: 17, layers: 1 },
    { heads: 1, layers: 0 },
    { heads: 1.5, layers: 1 },
  ])('refuse %j', (config) => {
    expect(() => medusaParameters(config, model.sizes)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it.each([1, 3])('compute the formula with %i blocks', async (layers) => {
    const config = { heads: 3, layers };
    const parameters = randomHeads(config, 5);
    await using heads = await MedusaHeads.create(config, model.sizes, parameters);
    const random = new Random(9);
    const hidden = Float32Array.from({ length: 2 * width }, () => random.normal());
    const { shape, data } = await heads.logits(hidden);
    expect(shape).toEqual([3, 2, vocabulary]);
    for (let head = 0; head < 3; head++) {
      for (let row = 0; row < 2; row++) {
        const expected = naiveLogits(config, parameters, head, hidden.subarray(row * width, (row + 1) * width));
        expected.forEach((value, token) => {
          expect(data[(head * 2 + row) * vocabulary + token]).toBeCloseTo(value, 4);
        });
      }
    }
  });

  it('start as the head of the model', async () => {
    const parameters = floats(randomParameters(model, 4));
    await using heads = await MedusaHeads.create(
      { heads: 2, layers: 2 },
      model.sizes,
      initializeMedusa({ heads: 2, layers: 2 }, model, parameters),
    );
    const graph = new Graph('head');
    graph.output(
      'logits',
      model.head(new WeightParameters(graph, parameters), graph.input('hidden', 'float32', [1, width])),
    );
    await using program = await compile(graph);
    const hidden = Float32Array.from({ length: width }, (_, i) => Math.sin(i));
    const { logits } = await program.run({ hidden: float32([1, width], hidden) }, ['logits']);
    const { data } = await heads.logits(hidden);
    expect(Array.from(data.subarray(0, vocabulary))).toEqual(Array.from(logits.data, Number));
    expect(Array.from(data.subarray(vocabulary))).toEqual(Array.from(logits.data, Number));
    const tops = await heads.topK(hidden, 3);
    expect(tops).toHaveLength(heads.count);
    expect(tops[0]).toEqual(largest(Float32Array.from(logits.data, Number), 3));
  });

  it('refuse hidden states of another width and impossible k', async () => {
    await using heads = await MedusaHeads.create(
      { heads: 1, layers: 1 },
      model.sizes,
      randomHeads({ heads: 1, layers: 1 }, 1),
    );
    await expect(heads.topK(new Float32Array(width + 1), 2)).rejects.toMatchObject({ code: 'SHAPE' });
    await expect(heads.topK(new Float32Array(2 * width), 2)).rejects.toMatchObject({ code: 'SHAPE' });
    await expect(heads.topK(new Float32Array(width), vocabulary + 1)).rejects.toMatchObject({ code: 'INPUT' });
    await expect(heads.topK(new Float32Array(width), 0)).rejects.toMatchObject({ code: 'INPUT' });
  });
});

describe('largest', () => {
  it('equals sorting, the lower index first among equals', () => {
    const numbers = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(numbers, fc.nat(), (values, drawn) => {
        const k = 1 + (drawn % values.length);
        const sorted = values.map((_, index) => index).sort((a, b) => values[b] - values[a] || a - b);
        expect([...largest(Float32Array.from(values), k)]).toEqual(sorted.slice(0, k));
      }),
      { seed: 3, numRuns: 300 },
    );
  });
});
