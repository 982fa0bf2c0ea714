import { describe, expect, it } from 'vitest';
import { parseMixer } from '../../../attention/mixers.ts';
import { describeCausalModel } from '../index.ts';
import { parseLlamaConfig } from '../decoder/variants.ts';

const base = {
  model_type: 'llama',
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};
const softmax = { kind: 'softmax' };
const augmented = { kind: 'linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } };

describe('parseLlamaConfig', () => {
  it('fills in what old checkpoints leave out', () => {
    expect(parseLlamaConfig(base)).toMatchObject({
      keyValueHeads: 4,
      headWidth: 8,
      trainedLength: 2048,
      normEpsilon: 1e-6,
      ropes: [{ base: 10_000, scaling: undefined }, { base: 10_000 }],
      tiedHead: false,
      bosId: undefined,
      eosIds: [],
      mixers: [softmax, softmax],
    });
    expect(parseLlamaConfig({ ...base, num_key_value_heads: null, head_dim: null, rope_scaling: null })).toMatchObject({
      keyValueHeads: 4,
      headWidth: 8,
    });
  });

  it('takes what is given', () => {
    const given = {
      ...base,
      num_key_value_heads: 2,
      head_dim: 16,
      rope_theta: 500_000,
      rms_norm_eps: 1e-5,
      bos_token_id: 1,
      eos_token_id: [2, 3],
      tie_word_embeddings: true,
    };
    expect(parseLlamaConfig(given)).toMatchObject({
      keyValueHeads: 2,
      headWidth: 16,
      ropes: [{ base: 500_000 }, { base: 500_000 }],
      normEpsilon: 1e-5,
      bosId: 1,
      eosIds: [2, 3],
      tiedHead: true,
    });
    expect(parseLlamaConfig({ ...base, eos_token_id: 2 }).eosIds).toEqual([2]);
  });

  const llama3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const scaled = {
    type: 'llama3',
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalLength: 8192,
  };

  it.each([
    ['none', { rope_scaling: { rope_type: 'default' } }, 10_000, undefined],
    ['linear, old spelling', { rope_scaling: { type: 'linear', factor: 2 } }, 10_000, { type: 'linear', factor: 2 }],
    ['llama3', { rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', factor: 8, ...llama3 } }, 5e5, scaled],
    [
      'together, new spelling',
      { rope_parameters: { rope_theta: 5e5, rope_type: 'llama3', factor: 8, ...llama3 } },
      5e5,
      scaled,
    ],
    ['the base in the old spelling', { rope_scaling: { rope_theta: 5e5, rope_type: 'default' } }, 5e5, undefined],
    ['the base alone, new spelling', { rope_parameters: { rope_theta: 5e5, rope_type: 'default' } }, 5e5, undefined],
  ])('reads rotary positions: %s', (_, fields, ropeBase, scaling) => {
    expect(parseLlamaConfig({ ...base, ...fields })).toMatchObject({
      ropes: [
        { base: ropeBase, scaling },
        { base: ropeBase, scaling },
      ],
    });
  });

  it.each<[object, string]>([
    [{ vocab_size: undefined }, 'vocab_size'],
    [{ hidden_size: '32' }, 'hidden_size'],
    [{ intermediate_size: 0 }, 'intermediate_size'],
    [{ num_hidden_layers: 1.5 }, 'num_hidden_layers'],
    [{ num_hidden_layers: 1e9 }, 'num_hidden_layers'],
    [{ num_attention_heads: -4 }, 'num_attention_heads'],
    [{ num_key_value_heads: 3 }, 'num_key_value_heads 3 does not divide num_attention_heads 4'],
    [{ hidden_size: 30 }, 'head width 7.5 (head_dim, or hidden_size / num_attention_heads)'],
    [{ head_dim: 7 }, 'head width 7'],
    [{ head_dim: 1 << 24 }, 'must be an even integer up to 65536'],
    [{ hidden_act: 'gelu' }, 'hidden_act "gelu": only "silu" is supported'],
    [{ rope_theta: 0 }, 'rope_theta'],
    [{ rope_scaling: { rope_type: 'default', rope_theta: 0 } }, 'rope_scaling.rope_theta'],
    [{ rms_norm_eps: -1 }, 'rms_norm_eps'],
    [{ rms_norm_eps: 1e308 }, 'rms_norm_eps'],
    [{ eos_token_id: 'two' }, 'eos_token_id'],
    [
      { rope_scaling: { type: 'dynamic', factor: 2 } },
      'rope_scaling type "dynamic" is not supported; known: default, linear, llama3, yarn, longrope',
    ],
    [{ rope_scaling: { type: 'constructor' } }, 'rope_scaling type "constructor" is not supported'],
    [{ rope_scaling: { type: 'linear' } }, 'rope_scaling.factor is missing'],
    [{ rope_scaling: { rope_type: 'llama3', factor: 8 } }, 'rope_scaling.low_freq_factor is missing'],
    [{ rope_scaling: { type: 'linear', factor: 0 } }, 'rope_scaling.factor'],
    [{ linnet: { version: 2, mixers: [softmax, softmax] } }, 'linnet.version'],
    [{ linnet: { version: 1, mixers: [softmax] } }, 'linnet.mixers names 1 layers, num_hidden_layers is 2'],
    [{ linnet: { version: 1, mixers: [softmax, { kind: 'linear' }] } }, 'at least one branch'],
    [{ linnet: { version: 1, mixers: [softmax, { ...augmented, group: 0 }] } }, 'linnet.mixers[1].group'],
    [{ linnet: { version: 1, mixers: [softmax, softmax], extra: 1 } }, 'extra'],
  ])('refuses %j, naming the field', (fields, message) => {
    const parse = (): unknown => parseLlamaConfig({ ...base, ...fields });
    expect(parse).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(parse).toThrow(message);
  });

  it('names several problems at once', () => {
    const parse = (): unknown => parseLlamaConfig({ ...base, hidden_act: 'gelu', num_key_value_heads: 3 });
    expect(parse).toThrow(/hidden_act[\s\S]*num_key_value_heads/);
  });
});

describe('a described model', () => {
  const hybrid = { ...base, linnet: { version: 1, mixers: [augmented, softmax] } };

  it('has the parameters of its mixers, layer by layer', () => {
    const { parameters } = describeCausalModel(hybrid);
    expect(parameters.get('model.layers.0.self_attn.global_factor')).toEqual({ shape: [1], role: 'mixer' });
    expect(parameters.get('model.layers.0.self_attn.dwconv.weight')?.shape).toEqual([4, 1, 9, 1]);
    expect([...parameters.keys()].filter((name) => name.includes('layers.1.self_attn'))).toHaveLength(4);
    expect(parameters.get('lm_head.weight')).toEqual({ shape: [100, 32], role: 'head' });
    expect(describeCausalModel({ ...hybrid, tie_word_embeddings: true }).parameters.has('lm_head.weight')).toBe(false);
  });

  it('writes a config that gives the same model, and unknown fields as they came', () => {
    const json = describeCausalModel({ ...hybrid, pretraining_tp: 1 }).toJson();
    expect(json).toMatchObject({ pretraining_tp: 1, linnet: { version: 1 } });
    expect(describeCausalModel(json).mixers).toEqual([parseMixer(augmented), softmax]);
  });

  it('has no section of ours while all layers are softmax', () => {
    expect(describeCausalModel({ ...base, linnet: { version: 1, mixers: [softmax, softmax] } }).toJson()).toEqual(base);
  });

  it.each([[undefined], ['gpt5'], ['toString'], [7]])('is refused for model_type %j', (model_type) => {
    expect(() => describeCausalModel({ ...base, model_type })).toThrow(/model_type is .*supported: .*llama/);
  });
});
