import { expect, it } from 'vitest';
import { mixerPreset } from '../../../attention/presets.ts';
import { Random } from '../../../random.ts';
import { initializeParameters } from '../../initialize.ts';
import { t5Model } from './model.ts';

it('draws T5 with its own deviations, and mixers neutral', () => {
  const sizes = { d_model: 64, d_kv: 16, d_ff: 256, num_layers: 1, num_heads: 8, vocab_size: 100 };
  const plain = t5Model({ model_type: 't5', ...sizes, tie_word_embeddings: false });
  const model = plain.withMixers(
    plain.mixers.map((mixer, i) => (i === 0 ? mixerPreset('augmented', { kernel: 9 }) : mixer)),
  );
  const parameters = initializeParameters(model, new Random(1));
  const deviation = (name: string): number => {
    const data = parameters.get(name)?.data ?? new Float32Array(0);
    return Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
  };
  const self = 'decoder.block.0.layer.0.SelfAttention';
  for (const [name, expected] of [
    ['shared.weight', 1],
    ['lm_head.weight', 1 / 8],
    [`${self}.q.weight`, 1 / 32],
    [`${self}.k.weight`, 1 / 8],
    [`${self}.v.weight`, 1 / 8],
    [`${self}.o.weight`, 128 ** -0.5],
    ['encoder.block.0.layer.1.DenseReluDense.wi.weight', 1 / 8],
    ['encoder.block.0.layer.1.DenseReluDense.wo.weight', 1 / 16],
  ] as const) {
    expect(Math.abs(deviation(name) / expected - 1), name).toBeLessThan(0.05);
  }
  expect(deviation('decoder.final_layer_norm.weight')).toBe(1);
  expect(deviation('encoder.block.0.layer.0.SelfAttention.global_factor')).toBe(0);
  expect([...parameters.keys()].sort()).toEqual([...model.parameters.keys()].sort());
});
