/** config.json of Falcon-H1: what is read of it, and what is refused. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../../../test/models/tiny-model.ts';
import { falconH1Model } from './falcon-h1.ts';

const tiny = tinyConfig('falcon_h1');

describe('falconH1Model', () => {
  const model = falconH1Model(tiny);

  it('has the attentions of all layers, then their Mamba-2', () => {
    expect(model.mixers.map(({ kind }) => kind)).toEqual(['softmax', 'softmax', 'mamba2', 'mamba2']);
    expect([1, 2].map((index) => model.attentionPrefix(index))).toEqual([
      'model.layers.1.self_attn',
      'model.layers.0.mamba',
    ]);
    expect(model.toJson()).toEqual(tiny);
  });

  it('leaves the norm out where it has none, wherever that would be', () => {
    const without = falconH1Model({ ...tiny, mamba_rms_norm: false, mamba_norm_before_gate: true });
    expect(without.parameters.has('model.layers.0.mamba.norm.weight')).toBe(false);
  });

  it.each<[object, string]>([
    [{ mamba_norm_before_gate: true }, 'mamba_norm_before_gate'],
    [{ mamba_norm_before_gate: undefined }, 'mamba_norm_before_gate'],
    [{ mamba_d_head: 5 }, 'must be the 24 channels'],
    [{ mamba_n_groups: 3 }, 'does not divide mamba_n_heads 4'],
    [{ mamba_n_heads: 100_000, mamba_d_head: 1, mamba_d_ssm: 100_000, mamba_n_groups: 1 }, 'mamba_n_heads'],
    [{ mamba_d_conv: 0 }, 'mamba_d_conv'],
    [{ key_multiplier: Number.NaN }, 'key_multiplier'],
    [{ ssm_multipliers: [1, 1] }, 'ssm_multipliers'],
    [{ linnet: { version: 1, mixers: [{ kind: 'softmax' }] } }, '2 · num_hidden_layers is 4'],
  ])('refuses %j', (fields, message) => {
    const act = (): unknown => falconH1Model({ ...tiny, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });
});
