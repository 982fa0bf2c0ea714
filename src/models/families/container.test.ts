/** Models that also read pictures are read as their text models; tensors of other parts are left out. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { describeModel } from './index.ts';

const own = (family: string): Readonly<Record<string, unknown>> => {
  const { model_type: _, tie_word_embeddings: __, ...fields } = tinyConfig(family);
  return fields;
};

/** Fields next to the text model, as published. */
const containers = {
  lfm2_vl: { architectures: ['Lfm2VlForConditionalGeneration'], downsample_factor: 2, text_config: own('lfm2') },
  idefics3: { image_token_id: 5, scale_factor: 4, vision_config: {}, text_config: own('llama'), vocab_size: 258 },
  mistral3: {
    image_token_index: 10,
    multimodal_projector_bias: false,
    spatial_merge_size: 2,
    vision_feature_layer: -1,
    text_config: own('mistral'),
  },
};

describe.each([
  ['lfm2_vl', 'lfm2', 'Lfm2ForCausalLM'],
  ['idefics3', 'llama', 'LlamaForCausalLM'],
  ['mistral3', 'mistral', 'MistralForCausalLM'],
] as const)('%s', (type, family, architecture) => {
  const json = { model_type: type, tie_word_embeddings: false, ...containers[type] };
  const model = describeModel(json);

  it('is its text model, and written as that', () => {
    const text = { ...own(family), model_type: family, architectures: [architecture], tie_word_embeddings: false };
    expect(model.toJson()).toEqual(text);
    expect(model.parameters).toEqual(describeModel(text).parameters);
    expect(model.unknownFields).toEqual([]);
  });

  it.each([
    ['model.language_model.layers.1.mlp.x.weight', 'model.layers.1.mlp.x.weight'],
    ['model.text_model.norm.weight', 'model.norm.weight'],
    ['language_model.model.embed_tokens.weight', 'model.embed_tokens.weight'],
    ['language_model.lm_head.weight', 'lm_head.weight'],
    ['lm_head.weight', 'lm_head.weight'],
    ['vision_tower.patch_conv.weight', undefined],
    ['model.multi_modal_projector.linear_1.weight', undefined],
    ['model.connector.modality_projection.proj.weight', undefined],
  ])('knows %s', (stored, name) => {
    expect(model.parameterName(stored)).toBe(name);
  });

  it('says what the container says of the head and of the ends of texts', () => {
    const tied = describeModel({ ...json, tie_word_embeddings: true, eos_token_id: [3, 4] });
    expect(tied.parameters.has('lm_head.weight')).toBe(false);
    expect(tied.eosIds).toEqual([3, 4]);
  });
});

describe('fields that nothing reads', () => {
  const llama = { ...tinyConfig('llama'), unsloth_fixed: true, attn_layer_indices: null };

  it('are named', () => {
    expect(describeModel({ ...llama, trained_by: 'us' }).unknownFields).toEqual(['attn_layer_indices', 'trained_by']);
    const composite = { ...tinyConfig('qwen3_5'), mtplx_mtp_contract: {} };
    const text = { ...tinyConfig('qwen3_5_text'), kernel: 'fast' };
    expect(describeModel({ ...composite, text_config: text }).unknownFields).toEqual(['mtplx_mtp_contract', 'kernel']);
  });

  it.each([null, false, 0, '', [], {}])('may be about the computation where they are %j', (value) => {
    expect(describeModel({ ...llama, num_experts: value }).unknownFields).toContain('num_experts');
  });

  it('are as good as false where a known one is null', () => {
    expect(describeModel({ ...llama, mlp_bias: null }).kind).toBe('causal');
    expect(() => describeModel({ ...tinyConfig('qwen3_5_text'), attn_output_gate: null })).toThrow('attn_output_gate');
  });

  it('are refused by name where it says that they count, with the problems of others', () => {
    const act = (): unknown => describeModel({ ...llama, rope_jitter: 2, mlp_bias: 'yes' });
    expect(act).toThrow(
      /mlp_bias[\s\S]*unknown: "rope_jitter" \(positions\): .* leave it out by --ignore rope_jitter$/,
    );
  });
});

describe('the kind of a model', () => {
  it('follows from its class where there is no model_type', () => {
    const { model_type: _, ...llama } = tinyConfig('llama');
    expect(describeModel({ ...llama, architectures: ['LlamaForCausalLM'] }).family).toBe('llama');
    expect(() => describeModel(llama)).toThrow('model_type is missing');
    expect(() => describeModel({ model_type: 'mixtral' })).toThrow(
      '"mixtral" (experts, which Linnet does not compute)',
    );
  });

  it('is that of the text model where a container holds it without text_config', () => {
    const flat = { ...tinyConfig('qwen3_5_text'), model_type: 'qwen3_5', architectures: ['Qwen3_5ForCausalLM'] };
    expect(describeModel(flat).toJson()).toEqual({ ...flat, model_type: 'qwen3_5_text' });
  });

  it('does not depend on how its weights are stored, which is not written', () => {
    const llama = tinyConfig('llama');
    const quantized = describeModel({ ...llama, quantization_config: { quant_method: 'gptq' } });
    expect(quantized.toJson()).toEqual(llama);
  });
});
