/** config.json of OLMo-Hybrid: what is read of it, and what is refused. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../../../test/models/tiny-model.ts';
import { parameterCount } from '../../../nn/parameters.ts';
import { describeCausalModel } from '../index.ts';

const tiny = tinyConfig('olmo_hybrid');

/** The fields of the published 7B that have no default. */
const published = {
  model_type: 'olmo_hybrid',
  vocab_size: 100_352,
  hidden_size: 3840,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 30,
  rope_parameters: { rope_theta: null, rope_type: 'default' },
};

describe('OLMo-Hybrid', () => {
  it('has the layers and sizes that follow from width and heads', () => {
    const model = describeCausalModel(published);
    const deltaNet = {
      kind: 'delta-net',
      group: 8,
      heads: 30,
      keyHeads: 30,
      keyWidth: 96,
      valueWidth: 192,
      kernel: 4,
      doubled: true,
      apart: true,
    };
    expect(model.mixers.slice(0, 4)).toEqual([deltaNet, deltaNet, deltaNet, { kind: 'softmax' }]);
    expect(Math.round(parameterCount(model.parameters) / 1e7)).toBe(743);
    expect(model.parameters.get('model.layers.0.linear_attn.v_conv1d.weight')?.shape).toEqual([5760, 1, 4]);
    expect(model.parameters.get('model.layers.3.self_attn.k_norm.weight')?.shape).toEqual([3840]);
    expect(model.parameters.has('model.layers.3.input_layernorm.weight')).toBe(false);
    expect(model.toJson()).toEqual(published);
  });

  it('turns queries and keys where there is a base', () => {
    const angles = (theta: number | null): readonly string[] =>
      Object.keys(describeCausalModel({ ...tiny, rope_parameters: { rope_theta: theta } }).positions.at([3], 1, 1));
    expect(angles(null)).toEqual([]);
    expect(angles(10_000)).toHaveLength(2);
  });

  it('has heads of any width where it turns none', () => {
    const { sizes } = describeCausalModel({ ...tiny, head_dim: 7, rope_parameters: { rope_theta: null } });
    expect(sizes.headWidth).toBe(7);
  });

  it('has β up to 1 without linear_allow_neg_eigval, and attention in one layer at least', () => {
    const { mixers } = describeCausalModel({ ...tiny, num_hidden_layers: 3, linear_allow_neg_eigval: false });
    expect(mixers.map(({ kind }) => kind)).toEqual(['delta-net', 'delta-net', 'softmax']);
    expect(mixers[0]).not.toHaveProperty('doubled');
  });

  it.each<[object, string]>([
    [{ rope_parameters: null }, 'rope_parameters'],
    [{ rope_parameters: undefined }, 'rope_parameters'],
    [{ rope_parameters: { rope_type: 'default' } }, 'rope_parameters'],
    [{ rope_parameters: { rope_theta: null, rope_type: 'yarn' } }, 'rope_parameters'],
    [{ rope_parameters: { rope_theta: 1e4, rope_type: 'dynamic', factor: 2 } }, 'dynamic'],
    [{ rope_scaling: { rope_type: 'linear', factor: 2 } }, 'rope_scaling'],
    [{ linear_conv_kernel_dim: 0 }, 'linear_conv_kernel_dim'],
    [{ linear_key_head_dim: 100_000 }, 'linear_key_head_dim'],
    [{ linear_num_key_heads: 14, linear_num_value_heads: 14, linear_key_head_dim: null }, 'keyWidth'],
    [{ linear_num_key_heads: 2, linear_num_value_heads: 3 }, 'linear_num_value_heads 3 must be a multiple'],
    [{ linear_allow_neg_eigval: 1 }, 'linear_allow_neg_eigval'],
    [{ layer_types: ['linear_attention'] }, 'layer_types has 1 entries for 2 layers'],
    [{ layer_types: ['sliding_attention', 'full_attention'] }, 'layer_types'],
    [{ head_dim: 7 }, 'head width 7'],
    [{ head_dim: 7.5, rope_parameters: { rope_theta: null } }, 'head_dim'],
    [{ num_experts: 8 }, 'unknown: "num_experts"'],
  ])('refuses %j', (fields, message) => {
    const act = (): unknown => describeCausalModel({ ...tiny, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });
});
