/** config.json of Gemma 3: what is read of it, what is refused, and which layers get another mixer. */
import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../../attention/presets.ts';
import { modelStateBytes } from '../../graphs/model-layout.ts';
import { exchangeableLayers, withMixer } from '../../linearization/linearize.ts';
import { describeCausalModel } from '../index.ts';
import { gemma3TextModel } from './gemma3.ts';

const pattern = Array.from({ length: 18 }, (_, layer) =>
  (layer + 1) % 6 === 0 ? 'full_attention' : 'sliding_attention',
);
/** With the fields of Gemma 3 270M. */
const published = {
  _sliding_window_pattern: 6,
  architectures: ['Gemma3ForCausalLM'],
  attention_bias: false,
  attention_dropout: 0,
  attn_logit_softcapping: null,
  bos_token_id: 2,
  eos_token_id: 1,
  final_logit_softcapping: null,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  hidden_size: 640,
  initializer_range: 0.02,
  intermediate_size: 2048,
  layer_types: pattern,
  max_position_embeddings: 32_768,
  model_type: 'gemma3_text',
  num_attention_heads: 4,
  num_hidden_layers: 18,
  num_key_value_heads: 1,
  pad_token_id: 0,
  query_pre_attn_scalar: 256,
  rms_norm_eps: 1e-6,
  rope_local_base_freq: 10_000,
  rope_scaling: null,
  rope_theta: 1_000_000,
  sliding_window: 512,
  torch_dtype: 'bfloat16',
  transformers_version: '4.55.0.dev0',
  use_bidirectional_attention: false,
  use_cache: true,
  vocab_size: 262_144,
};
const window = { kind: 'window', group: 1, window: 512, sinks: 0, memory: null, convolution: null };
const full = [5, 11, 17];

describe('gemma3TextModel', () => {
  const model = gemma3TextModel(published);

  it('is read, and written as it came', () => {
    expect(model.toJson()).toEqual(published);
    expect(model.mixers.flatMap(({ kind }, layer) => (kind === 'softmax' ? [layer] : []))).toEqual(full);
    expect(model.mixers[0]).toEqual(window);
    expect(model.parameters.has('lm_head.weight')).toBe(false);
    expect(model.scoreScale).toBe(1 / 16);
  });

  it('keeps a window of 512 positions in fifteen layers, whatever the text', () => {
    const [empty, full] = [modelStateBytes(model, 0), modelStateBytes(model, 1000)];
    expect(empty).toBe(15 * 512 * 2 * 256 * 4);
    expect(full - empty).toBe(3 * 1000 * 2 * 256 * 4);
  });

  it('turns windows by a base of their own, which no scaling stretches', () => {
    const angles = (fields: object): (readonly number[])[] => {
      const given = { ...published, layer_types: undefined, rope_theta: undefined, rope_local_base_freq: undefined };
      const values = gemma3TextModel({ ...given, ...fields }).positions.at([3], 1, 1);
      return ['cos', 'cos.1'].map((name) => Array.from(values[name].data, Number));
    };
    const linear = { rope_type: 'linear', factor: 8 };
    const [local, global] = angles({ rope_theta: 2e5, rope_local_base_freq: 500, rope_scaling: linear });
    expect([local[0], global[0]]).toEqual([Math.fround(Math.cos(3)), Math.fround(Math.cos(3 / 8))]);
    expect(local[64]).toBeCloseTo(Math.cos(3 / 500 ** 0.5), 6);
    expect(global[64]).toBeCloseTo(Math.cos(3 / 8 / 2e5 ** 0.5), 6);
    const rope_parameters = {
      full_attention: { ...linear, rope_theta: 2e5 },
      sliding_attention: { rope_type: 'default', rope_theta: 500 },
    };
    expect(angles({ rope_parameters })).toEqual([local, global]);
    expect(angles({})).toEqual(angles({ rope_theta: 1e6, rope_local_base_freq: 1e4 }));
  });

  it('finds windows by a pattern where there are no types', () => {
    const fullLayers = (fields: object): number[] =>
      exchangeableLayers(gemma3TextModel({ ...published, layer_types: undefined, ...fields }));
    expect(fullLayers({})).toEqual(full);
    expect(fullLayers({ sliding_window_pattern: 3 })).toEqual([2, 5, 8, 11, 14, 17]);
  });

  it('exchanges what reads the whole past, and its windows only where they are named', () => {
    const mixer = mixerPreset('window', { group: 8 });
    const changed = withMixer(model, mixer);
    expect(exchangeableLayers(model)).toEqual(full);
    expect(changed.mixers).toEqual(model.mixers.map((own, layer) => (full.includes(layer) ? mixer : own)));
    expect(modelStateBytes(changed, 100_000)).toBe(modelStateBytes(changed, 0));
    expect(gemma3TextModel(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(withMixer(changed, { kind: 'softmax' }).toJson()).toEqual(published);
    expect(model.withMixers(model.mixers.map(() => mixer)).mixers[0]).toEqual(mixer);
  });

  it.each<[object, string]>([
    [{ attn_logit_softcapping: 50 }, 'attn_logit_softcapping'],
    [{ use_bidirectional_attention: true }, 'use_bidirectional_attention'],
    [{ hidden_activation: 'silu' }, 'hidden_activation'],
    [{ attention_bias: true }, 'attention_bias'],
    [{ sliding_window: null }, 'sliding_window'],
    [{ layer_types: ['full_attention'] }, 'layer_types has 1 entries for 18 layers'],
    [{ rope_scaling: { rope_type: 'dynamic', factor: 2 } }, 'type "dynamic" is not supported'],
    [{ rope_parameters: { rope_type: 'default' } }, 'rope_parameters'],
    [{ rope_scaling: { rope_type: 'default', rope_theta: 'far' } }, 'rope_scaling.rope_theta'],
    [{ num_experts: 8 }, 'unknown: "num_experts"'],
  ])('refuses %j', (fields, message) => {
    const act = (): unknown => gemma3TextModel({ ...published, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });
});

describe('a model that reads pictures, too', () => {
  /** With the fields of Gemma 3 4B. */
  const composite = {
    architectures: ['Gemma3ForConditionalGeneration'],
    boi_token_index: 255_999,
    eoi_token_index: 256_000,
    eos_token_id: [1, 106],
    image_token_index: 262_144,
    initializer_range: 0.02,
    mm_tokens_per_image: 256,
    model_type: 'gemma3',
    torch_dtype: 'bfloat16',
    transformers_version: '4.50.0.dev0',
    text_config: {
      hidden_size: 2560,
      intermediate_size: 10_240,
      model_type: 'gemma3_text',
      num_hidden_layers: 34,
      rope_scaling: { factor: 8, rope_type: 'linear' },
      sliding_window: 1024,
    },
    vision_config: { model_type: 'siglip_vision_model', hidden_size: 1152 },
  };
  const model = describeCausalModel(composite);

  it('is its text model, and written as that', () => {
    expect(model.family).toBe('gemma3_text');
    expect(model.eosIds).toEqual([1, 106]);
    expect(model.sizes).toMatchObject({ vocabulary: 262_208, heads: 8, keyValueHeads: 4, headWidth: 256 });
    expect(model.toJson()).toEqual({
      ...composite.text_config,
      architectures: ['Gemma3ForCausalLM'],
      eos_token_id: [1, 106],
    });
  });

  it.each([
    ['language_model.model.layers.3.mlp.up_proj.weight', 'model.layers.3.mlp.up_proj.weight'],
    ['model.language_model.embed_tokens.weight', 'model.embed_tokens.weight'],
    ['language_model.lm_head.weight', undefined],
    ['vision_tower.vision_model.embeddings.patch_embedding.weight', undefined],
    ['model.multi_modal_projector.mm_input_projection_weight', undefined],
  ])('knows %s', (stored, name) => {
    expect(model.parameterName(stored)).toBe(name);
  });

  it('refuses what it does not know', () => {
    expect(() => describeCausalModel({ ...composite, logit_scaling: 2 })).toThrow('unknown: "logit_scaling"');
    expect(() => describeCausalModel({ ...composite, text_config: { num_experts: 2 } })).toThrow('"num_experts"');
  });
});
