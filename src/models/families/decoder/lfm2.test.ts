/** config.json of LFM2: what is read of it, what is refused, and which layers can have another mixer. */
import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../../attention/presets.ts';
import { modelStateBytes } from '../../graphs/model-layout.ts';
import { withMixer } from '../../linearization/linearize.ts';
import { lfm2Model } from './lfm2.ts';

/** With the fields of LFM2-350M. */
const published = {
  architectures: ['Lfm2ForCausalLM'],
  model_type: 'lfm2',
  torch_dtype: 'bfloat16',
  transformers_version: '4.54.0',
  block_auto_adjust_ff_dim: true,
  block_dim: 1024,
  block_ff_dim: 6656,
  block_ffn_dim_multiplier: 1,
  block_mlp_init_scale: 1,
  block_multiple_of: 256,
  block_norm_eps: 1e-5,
  block_out_init_scale: 1,
  block_use_swiglu: true,
  block_use_xavier_init: true,
  bos_token_id: 1,
  conv_L_cache: 3,
  conv_bias: false,
  conv_dim: 1024,
  conv_dim_out: 1024,
  conv_use_xavier_init: true,
  eos_token_id: 7,
  hidden_size: 1024,
  full_attn_idxs: [2, 5, 8, 10, 12, 14],
  initializer_range: 0.02,
  max_position_embeddings: 128_000,
  norm_eps: 1e-5,
  num_attention_heads: 16,
  num_heads: 16,
  num_hidden_layers: 16,
  num_key_value_heads: 8,
  pad_token_id: 0,
  rope_theta: 1e6,
  use_cache: true,
  use_pos_enc: true,
  vocab_size: 65_536,
};
const convolution = { kind: 'short-conv', kernel: 3, bias: false };
const tiny = { ...published, hidden_size: 16, num_attention_heads: 4, num_key_value_heads: 2, block_multiple_of: 8 };

/** Width inside the feed-forward. */
const widthOf = (fields: object): number | undefined =>
  lfm2Model({ ...tiny, ...fields }).parameters.get('model.layers.0.feed_forward.w1.weight')?.shape[0];

describe('lfm2Model', () => {
  const model = lfm2Model(published);

  it('is read, and written as it came', () => {
    expect(model.toJson()).toEqual(published);
    expect(model.mixers.filter(({ kind }) => kind === 'softmax')).toHaveLength(6);
    expect([model.mixers[0], model.mixers[2]]).toEqual([convolution, { kind: 'softmax' }]);
    expect(model.parameters.has('lm_head.weight')).toBe(false);
    expect(widthOf(published)).toBe(4608);
  });

  it('keeps 80 KiB for its ten convolutions, whatever the text', () => {
    const [empty, full] = [modelStateBytes(model, 0), modelStateBytes(model, 1000)];
    expect(empty).toBe(80 * 1024);
    expect(full - empty).toBe(6 * 1000 * 2 * 8 * 64 * 4);
  });

  it('makes the width of the feed-forward as its reference does', () => {
    expect(widthOf({ block_ff_dim: 50, block_ffn_dim_multiplier: 1.3, block_multiple_of: 6 })).toBe(42);
    expect(widthOf({ block_ff_dim: 50, block_ffn_dim_multiplier: null })).toBe(33);
    expect(widthOf({ block_ff_dim: undefined, intermediate_size: 23, block_auto_adjust_ff_dim: false })).toBe(23);
  });

  it('knows its layers by type, by number, or all as attention; and its head by either key', () => {
    const kinds = (fields: object): string[] =>
      lfm2Model({ ...tiny, full_attn_idxs: undefined, num_hidden_layers: 2, ...fields }).mixers.map(({ kind }) => kind);
    expect(kinds({ layer_types: ['full_attention', 'conv'], full_attn_idxs: [1] })).toEqual(['softmax', 'short-conv']);
    expect(kinds({})).toEqual(['softmax', 'softmax']);
    const untied = lfm2Model({ ...tiny, tie_embedding: false, tie_word_embeddings: true });
    expect(untied.parameters.has('lm_head.weight')).toBe(true);
  });

  it('has heads of any width where no layer has attention, and their number by either key', () => {
    const { num_attention_heads: _, ...others } = tiny;
    const odd = { ...others, hidden_size: 18, num_heads: 2, num_key_value_heads: 2, full_attn_idxs: [] };
    const alone = lfm2Model(odd);
    expect(alone.sizes).toMatchObject({ heads: 2, headWidth: 9 });
    expect(alone.positions.at([3], 1, 1)).toEqual({});
    expect(() => lfm2Model({ ...odd, full_attn_idxs: [1] })).toThrow(/head width 9 .* must be an even integer/);
  });

  it('exchanges its attention, and no convolution', () => {
    const window = mixerPreset('window', { group: 8 });
    const changed = withMixer(model, window);
    expect(changed.mixers.map(({ kind }) => kind === 'window')).toEqual(
      model.mixers.map(({ kind }) => kind === 'softmax'),
    );
    expect(lfm2Model(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(withMixer(changed, { kind: 'softmax' }).toJson()).toEqual(published);
    expect(() => model.withMixers(model.mixers.map(() => window))).toThrow(/linnet\.mixers\[0\] must be .*short-conv/);
    expect(() => model.withMixers(model.mixers.map(() => convolution))).toThrow(/linnet\.mixers\[2\] must be/);
  });

  it.each<[object, string]>([
    [{ conv_L_cache: 0 }, 'conv_L_cache'],
    [{ block_use_swiglu: false }, 'block_use_swiglu'],
    [{ block_ffn_dim_multiplier: 2 ** 53 }, 'block_ffn_dim_multiplier 9007199254740992'],
    [{ block_ff_dim: 1, block_ffn_dim_multiplier: null }, 'a feed-forward of width 0'],
    [{ layer_types: ['conv', 'sliding_attention'] }, 'layer_types[1]'],
    [{ layer_types: ['conv'] }, 'layer_types has 1 entries for 16 layers'],
    [{ num_key_value_heads: 16, num_attention_heads: 16 }, 'must be a multiple'],
    [{ num_experts: 32 }, 'unknown: "num_experts"'],
  ])('refuses %j', (fields, message) => {
    const act = (): unknown => lfm2Model({ ...tiny, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });
});
