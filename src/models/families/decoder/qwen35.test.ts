/** config.json of Qwen3.5 and Qwen3-Next: what is read of it, what is refused, and which layers can have another mixer. */
import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../../attention/presets.ts';
import { parameterCount } from '../../../nn/parameters.ts';
import { modelStateBytes } from '../../graphs/model-layout.ts';
import { withMixer } from '../../linearization/linearize.ts';
import { publishedShape } from '../../presets/presets.ts';
import { describeCausalModel } from '../index.ts';

const published = publishedShape('qwen3.5-0.8b');
const composite = {
  architectures: ['Qwen3_5ForConditionalGeneration'],
  model_type: 'qwen3_5',
  image_token_id: 248_056,
  tie_word_embeddings: true,
  vision_config: { depth: 12 },
  text_config: { ...published, mtp_num_hidden_layers: 1 },
};
const tiny = {
  ...published,
  vocab_size: 50,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 4,
  head_dim: 16,
};
const deltaNet = {
  kind: 'delta-net',
  group: 8,
  heads: 16,
  keyHeads: 16,
  keyWidth: 128,
  valueWidth: 128,
  kernel: 4,
};

describe('Qwen3.5', () => {
  const model = describeCausalModel(published);

  it('has its layers, and the parameters of the published size', () => {
    expect(model.mixers.slice(0, 4)).toEqual([deltaNet, deltaNet, deltaNet, { kind: 'softmax' }]);
    expect(parameterCount(model.parameters)).toBe(752_393_024);
    expect(model.parameters.get('model.layers.3.self_attn.q_proj.weight')?.shape).toEqual([4096, 1024]);
    expect(model.parameters.get('model.layers.0.linear_attn.conv1d.weight')?.shape).toEqual([6144, 1, 4]);
  });

  it('drafts with the first of several layers of multi-token prediction', () => {
    const [one, two] = [1, 2].map((count) => describeCausalModel({ ...tiny, mtp_num_hidden_layers: count }));
    expect(two.mtp?.parameters).toEqual(one.mtp?.parameters);
    expect(two.mtp?.parameters.has('mtp.layers.0.mlp.up_proj.weight')).toBe(true);
    expect(two.parameterName('mtp.layers.1.mlp.up_proj.weight')).toBeUndefined();
  });

  it('keeps a constant state in 18 of its layers', () => {
    const [empty, full] = [modelStateBytes(model, 0), modelStateBytes(model, 1000)];
    expect(empty).toBe(18 * 4 * 16 * (128 * 128 + 8 * (258 + 384)));
    expect(full - empty).toBe(6 * 1000 * 2 * 2 * 256 * 4);
  });

  it.each([published, composite])('is written as it came, and exchanges its attention alone: %#', (config) => {
    const own = describeCausalModel(config);
    expect(own.toJson()).toEqual(config);
    const changed = withMixer(own, mixerPreset('window', { group: 8 }));
    expect(changed.mixers.map(({ kind }) => kind === 'window')).toEqual(
      own.mixers.map(({ kind }) => kind === 'softmax'),
    );
    expect(describeCausalModel(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(withMixer(changed, { kind: 'softmax' }).toJson()).toEqual(config);
    const mixers = (other: object) =>
      own.mixers.map((native) => (native.kind === 'softmax' ? native : { ...native, ...other }));
    expect(own.withMixers(mixers({ group: 4 })).mixers[0]).toMatchObject({ group: 4 });
    expect(() => own.withMixers(mixers({ kernel: 3 }))).toThrow(/linnet\.mixers\[0\] must be/);
  });

  it.each<[object, string]>([
    [{ linear_conv_kernel_dim: 0 }, 'linear_conv_kernel_dim'],
    [{ linear_key_head_dim: 100_000 }, 'linear_key_head_dim'],
    [{ linear_num_value_heads: 100_000 }, 'linear_num_value_heads'],
    [{ attn_output_gate: false }, 'attn_output_gate'],
    [{ layer_types: ['linear_attention'] }, 'layer_types has 1 entries for 4 layers'],
    [{ linear_num_value_heads: 24 }, 'linear_num_value_heads 24 must be a multiple'],
    [{ head_dim: 10 }, 'partial_rotary_factor 0.25 of head_dim 10'],
    [{ num_experts: 8 }, 'unknown: "num_experts"'],
    [{ rope_parameters: { rope_type: 'dynamic', factor: 2 } }, 'dynamic'],
    [{ model_type: 'qwen3_next', num_experts: 8 }, 'num_experts'],
    [{ model_type: 'qwen3_5' }, 'text_config'],
  ])('refuses %j', (fields, message) => {
    const act = (): unknown => describeCausalModel({ ...tiny, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });

  it('refuses fields next to the text model that it does not know', () => {
    const act = (): unknown => describeCausalModel({ ...composite, num_experts: 8 });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow('unknown: "num_experts"');
  });
});
