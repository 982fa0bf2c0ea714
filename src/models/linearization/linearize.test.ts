import { describe, expect, it } from 'vitest';
import type { MixerConfig } from '../../attention/mixer.ts';
import { parseMixer } from '../../attention/mixers.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { float32, type Tensor } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { describeCausalModel } from '../families/index.ts';
import { initializeParameters } from '../initialize.ts';
import { linearize } from './linearize.ts';
import type { CausalModel } from '../model.ts';

const softmaxModel = describeCausalModel({
  model_type: 'llama',
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
});
const augmented = mixerPreset('augmented', { group: 8, kernel: 9 });
const refined: MixerConfig = parseMixer({ ...augmented, local: { scale: 'learned' } });
const attention = (layer: number): string => `model.layers.${layer}.self_attn`;

function ownNames(model: CausalModel): string[] {
  return [...model.parameters.keys()].filter((name) => /_factor$|dwconv\.weight$/.test(name));
}

/** A tensor that is not at its initial value. */
function moved(shape: readonly number[]): Tensor<'float32'> {
  return float32(shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.25));
}

describe('linearize', () => {
  const base = initializeParameters(softmaxModel, new Random(1));

  it('swaps all layers, keeps every weight, and starts the new parameters neutral', () => {
    const { model, parameters } = linearize(softmaxModel, base, refined);
    expect(model.mixers).toEqual([refined, refined, refined]);
    expect([...parameters.keys()]).toEqual([...model.parameters.keys()]);
    for (const [name, value] of base) expect(parameters.get(name)).toBe(value);
    expect(parameters.get(`${attention(2)}.local_factor`)?.data).toEqual(Float32Array.of(1));
    expect(parameters.get(`${attention(2)}.global_factor`)?.data).toEqual(Float32Array.of(0));
    expect(parameters.get(`${attention(2)}.dwconv.weight`)).toEqual(float32([4, 1, 9, 1], new Float32Array(36)));
    expect(softmaxModel.mixers.map(({ kind }) => kind)).toEqual(['softmax', 'softmax', 'softmax']);
  });

  it('swaps the layers it is told to', () => {
    const { model, parameters } = linearize(softmaxModel, base, augmented, [2, 0]);
    expect(model.mixers).toEqual([augmented, { kind: 'softmax' }, augmented]);
    expect(ownNames(model).every((name) => parameters.has(name))).toBe(true);
    expect(ownNames(model).some((name) => name.startsWith(attention(1)))).toBe(false);
  });

  it('drops the parameters of mixers that are gone, and only theirs', () => {
    const first = linearize(softmaxModel, base, augmented);
    const { model, parameters } = linearize(first.model, first.parameters, { kind: 'softmax' }, [0, 1, 2]);
    expect(ownNames(model)).toEqual([]);
    expect([...parameters]).toEqual([...base]);
    expect(model.toJson()).toEqual(softmaxModel.toJson());
  });

  it('keeps what a layer has learned where its mixer does not change, and only there', () => {
    const first = linearize(softmaxModel, base, augmented);
    const taps = `${attention(0)}.dwconv.weight`;
    const alpha = `${attention(0)}.global_factor`;
    const trained = new Map(first.parameters).set(taps, moved([4, 1, 9, 1])).set(alpha, moved([1]));
    const other = linearize(first.model, trained, mixerPreset('local', { group: 4 }), [1]);
    expect(other.parameters.get(taps)).toBe(trained.get(taps));
    expect(other.parameters.get(alpha)).toBe(trained.get(alpha));
    expect(other.parameters.has(`${attention(1)}.dwconv.weight`)).toBe(false);

    // Another kernel length is another mixer, which starts anew.
    const longer = linearize(first.model, trained, mixerPreset('augmented', { group: 8, kernel: 5 }));
    expect(longer.parameters.get(taps)).toEqual(float32([4, 1, 5, 1], new Float32Array(20)));
    expect(longer.parameters.get(alpha)?.data).toEqual(Float32Array.of(0));
  });

  it.each([3, -1, 0.5])('refuses layer %d', (layer) => {
    expect(() => linearize(softmaxModel, base, augmented, [0, layer])).toThrow(
      expect.objectContaining({ code: 'CONFIG', message: `there is no layer ${layer}; the model has layers 0 to 2` }),
    );
  });

  it('names a weight that is missing', () => {
    const incomplete = new Map(base);
    incomplete.delete('model.norm.weight');
    expect(() => linearize(softmaxModel, incomplete, augmented)).toThrow(
      'parameter "model.norm.weight" [16] is missing',
    );
  });
});

describe('initializeParameters', () => {
  const large = describeCausalModel({
    model_type: 'llama',
    vocab_size: 400,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    linnet: { version: 1, mixers: [refined, { kind: 'softmax' }] },
  });
  const deviation = (data: Float32Array): number => Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);

  it('draws matrices, fills gains, and leaves mixers neutral', () => {
    const parameters = initializeParameters(large, new Random(2), 0.05);
    expect([...parameters].map(([name, { shape }]) => [name, shape])).toEqual(
      [...large.parameters].map(([name, { shape }]) => [name, shape]),
    );
    const residual = 0.05 / Math.sqrt(2 * 2);
    for (const [name, { shape, data }] of parameters) {
      if (shape.length === 2) {
        const expected = /\.(o_proj|down_proj)\.weight$/.test(name) ? residual : 0.05;
        expect(deviation(data) / expected, name).toBeCloseTo(1, 1);
        expect(Math.abs(data.reduce((a, b) => a + b, 0) / data.length), name).toBeLessThan(expected / 10);
      } else {
        const neutral = /global_factor$|dwconv\.weight$/.test(name) ? 0 : 1;
        expect(
          data.every((x) => x === neutral),
          name,
        ).toBe(true);
      }
    }
  });

  it('repeats with the seed', () => {
    const draw = (seed: number): Map<string, Tensor<'float32'>> => initializeParameters(large, new Random(seed));
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3).get('model.embed_tokens.weight')).not.toEqual(draw(4).get('model.embed_tokens.weight'));
  });
});
