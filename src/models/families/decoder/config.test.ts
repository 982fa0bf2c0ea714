/** config.json of published relatives of LLaMA: what is read of them, and what is refused by the name of its field. */
import { describe, expect, it } from 'vitest';
import { parseMixer } from '../../../attention/mixers.ts';
import { describeCausalModel } from '../index.ts';

const bookkeeping = {
  attention_dropout: 0,
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: 'silu',
  initializer_range: 0.02,
  torch_dtype: 'bfloat16',
  transformers_version: '4.46.0',
  use_cache: true,
};

/** As published, but for their sizes. */
const published = {
  'LLaMA 3.2': {
    ...bookkeeping,
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    attention_bias: false,
    mlp_bias: false,
    hidden_size: 64,
    intermediate_size: 96,
    num_attention_heads: 8,
    num_hidden_layers: 2,
    num_key_value_heads: 2,
    head_dim: 8,
    max_position_embeddings: 131072,
    pretraining_tp: 1,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling: {
      factor: 32,
      high_freq_factor: 4,
      low_freq_factor: 1,
      original_max_position_embeddings: 8192,
      rope_type: 'llama3',
    },
    eos_token_id: [3, 4, 5],
    tie_word_embeddings: true,
    vocab_size: 128,
  },
  TinyLlama: {
    ...bookkeeping,
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    max_position_embeddings: 2048,
    pretraining_tp: 1,
    hidden_size: 64,
    intermediate_size: 96,
    num_attention_heads: 8,
    num_hidden_layers: 2,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_scaling: null,
    tie_word_embeddings: false,
    vocab_size: 128,
  },
  SmolLM2: {
    ...bookkeeping,
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    attention_bias: false,
    mlp_bias: false,
    hidden_size: 72,
    intermediate_size: 96,
    num_attention_heads: 9,
    num_hidden_layers: 2,
    num_key_value_heads: 3,
    is_llama_config: true,
    max_position_embeddings: 8192,
    pad_token_id: 2,
    pretraining_tp: 1,
    rms_norm_eps: 1e-5,
    rope_interleaved: false,
    rope_scaling: null,
    rope_theta: 100000,
    tie_word_embeddings: true,
    vocab_size: 128,
    'transformers.js_config': { dtype: 'q4' },
  },
  'Mistral 0.1': {
    ...bookkeeping,
    architectures: ['MistralForCausalLM'],
    model_type: 'mistral',
    max_position_embeddings: 32768,
    hidden_size: 64,
    intermediate_size: 96,
    num_attention_heads: 8,
    num_hidden_layers: 2,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    sliding_window: 4096,
    tie_word_embeddings: false,
    vocab_size: 128,
  },
  'Mistral 0.3': {
    ...bookkeeping,
    architectures: ['MistralForCausalLM'],
    model_type: 'mistral',
    head_dim: 8,
    max_position_embeddings: 32768,
    hidden_size: 64,
    intermediate_size: 96,
    num_attention_heads: 4,
    num_hidden_layers: 2,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_theta: 1000000,
    sliding_window: null,
    tie_word_embeddings: false,
    vocab_size: 128,
  },
  'Qwen2.5': {
    ...bookkeeping,
    architectures: ['Qwen2ForCausalLM'],
    model_type: 'qwen2',
    max_position_embeddings: 32768,
    hidden_size: 56,
    intermediate_size: 96,
    num_attention_heads: 7,
    num_hidden_layers: 2,
    num_key_value_heads: 1,
    max_window_layers: 24,
    rms_norm_eps: 1e-6,
    rope_theta: 1000000,
    sliding_window: 32768,
    use_mrope: false,
    tie_word_embeddings: true,
    use_sliding_window: false,
    vocab_size: 128,
  },
  Qwen3: {
    ...bookkeeping,
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    attention_bias: false,
    head_dim: 12,
    hidden_size: 64,
    intermediate_size: 96,
    num_attention_heads: 8,
    num_hidden_layers: 2,
    num_key_value_heads: 2,
    max_position_embeddings: 40960,
    max_window_layers: 28,
    rms_norm_eps: 1e-6,
    rope_scaling: null,
    rope_theta: 1000000,
    sliding_window: null,
    tie_word_embeddings: true,
    use_sliding_window: false,
    layer_types: ['full_attention', 'full_attention'],
    vocab_size: 128,
  },
} as const;

const softmax = { kind: 'softmax' };

describe.each(Object.entries(published))('%s', (name, config) => {
  const model = describeCausalModel(config);

  it('is read, and written as it came', () => {
    expect(model.toJson()).toEqual(config);
    expect(model.family).toBe(config.model_type);
    expect(model.sizes).toMatchObject({
      layers: 2,
      heads: config.num_attention_heads,
      keyValueHeads: config.num_key_value_heads,
      trainedLength: config.max_position_embeddings,
    });
  });

  it('has the attention it was published with', () => {
    const window = parseMixer({ kind: 'window', group: 1, window: 4096, sinks: 0 });
    expect(model.mixers).toEqual(Array.from({ length: 2 }, () => (name === 'Mistral 0.1' ? window : softmax)));
  });

  it('has a classifier under the name of its class', () => {
    const { className, head } = model.asClassifier(['no', 'yes']);
    expect(config.architectures).toEqual([`${className}ForCausalLM`]);
    expect([...head]).toEqual([['score.weight', { shape: [2, config.hidden_size], role: 'matrix' }]]);
  });

  it.each<[object, string]>([
    [{ logit_softcapping: 30 }, 'unknown: "logit_softcapping"'],
    [{ partial_rotary_factor: 0.5 }, 'unknown: "partial_rotary_factor"'],
    [{ add_cross_attention: true }, 'add_cross_attention'],
    [{ is_encoder_decoder: true }, 'is_encoder_decoder'],
    [{ pruned_heads: { 0: [1] } }, 'pruned_heads'],
    [{ hidden_act: 'gelu' }, 'hidden_act "gelu": only "silu" is supported'],
    [{ rope_scaling: { rope_type: 'yarn', factor: 4, mscale: 1 } }, 'rope_scaling.mscale'],
    [{ rope_scaling: { rope_type: 'linear', factor: 4, beta_fast: 32 } }, 'rope_scaling.beta_fast'],
    [{ rope_scaling: null, rope_parameters: { rope_type: 'linear' } }, 'rope_parameters.factor is missing'],
    [
      {
        rope_scaling: {
          rope_type: 'llama3',
          factor: 8,
          low_freq_factor: 4,
          high_freq_factor: 4,
          original_max_position_embeddings: 8192,
        },
      },
      'rope_scaling.high_freq_factor must be greater than low_freq_factor',
    ],
  ])('is refused with %j, which changes what is computed', (fields, message) => {
    const act = (): unknown => describeCausalModel({ ...config, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });
});

it.each<[keyof typeof published, object, string]>([
  ['SmolLM2', { rope_interleaved: true }, 'rope_interleaved'],
  ['LLaMA 3.2', { mlp_bias: 'yes' }, 'mlp_bias'],
  ['LLaMA 3.2', { sliding_window: 4096 }, 'unknown: "sliding_window"'],
  ['LLaMA 3.2', { use_sliding_window: true }, 'unknown: "use_sliding_window"'],
  ['Mistral 0.1', { sliding_window: 0 }, 'sliding_window'],
  ['Mistral 0.1', { num_key_value_heads: undefined }, 'num_key_value_heads'],
  ['Mistral 0.1', { attention_bias: true }, 'unknown: "attention_bias"'],
  ['Qwen2.5', { use_sliding_window: true }, 'use_sliding_window'],
  ['Qwen2.5', { use_mrope: true }, 'use_mrope'],
  ['Qwen2.5', { num_key_value_heads: undefined }, 'num_key_value_heads'],
  ['Qwen3', { layer_types: ['full_attention', 'sliding_attention'] }, 'layer_types[1]'],
  ['Qwen3', { use_sliding_window: true }, 'use_sliding_window'],
  ['Qwen3', { attention_bias: true }, 'attention_bias'],
])('%s is refused with %j', (name, fields, message) => {
  const act = (): unknown => describeCausalModel({ ...published[name], ...fields });
  expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  expect(act).toThrow(message);
});

describe('a sliding window', () => {
  const mistral = published['Mistral 0.1'];
  const plain = describeCausalModel(mistral);

  it('can be exchanged in some layers, and put back', () => {
    const half = plain.withMixers([plain.mixers[0], parseMixer(softmax)]);
    expect(half.toJson()).toMatchObject({ sliding_window: 4096, linnet: { version: 1 } });
    expect(describeCausalModel(half.toJson()).mixers).toEqual([plain.mixers[0], softmax]);
    expect(half.withMixers(plain.mixers).toJson()).toEqual(mistral);
  });

  it('is not taken for softmax where a section asks for softmax throughout', () => {
    const whole = plain.withMixers([parseMixer(softmax), parseMixer(softmax)]);
    expect(describeCausalModel(whole.toJson()).mixers).toEqual([softmax, softmax]);
  });

  it('is 4096 where the configuration says nothing', () => {
    const { sliding_window: _, ...silent } = mistral;
    expect(describeCausalModel(silent).mixers).toEqual(plain.mixers);
  });

  it('is nothing that counts in Qwen2 while it is switched off', () => {
    expect(describeCausalModel({ ...published['Qwen2.5'], sliding_window: 8 }).mixers).toEqual([softmax, softmax]);
  });
});
