/** config.json of Granite 4 H: what is read of it, what is refused, and which layers can have another mixer. */
import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../../attention/presets.ts';
import { modelStateBytes } from '../../graphs/model-layout.ts';
import { withMixer } from '../../linearization/linearize.ts';
import { publishedShape } from '../../presets/presets.ts';
import { graniteHybridModel } from './granite.ts';

/** With the fields of Granite 4.0 H 350M. */
const published = {
  ...publishedShape('granite4-h-350m'),
  architectures: ['GraniteMoeHybridForCausalLM'],
  attention_bias: false,
  attention_dropout: 0,
  hidden_act: 'silu',
  init_method: 'mup',
  intermediate_size: 2048,
  mamba_chunk_size: 256,
  mamba_conv_bias: true,
  mamba_d_conv: 4,
  mamba_expand: 2,
  mamba_proj_bias: false,
  normalization_function: 'rmsnorm',
  num_experts_per_tok: 0,
  num_local_experts: 0,
  output_router_logits: false,
  rope_scaling: null,
  rope_theta: 10_000,
  router_aux_loss_coef: 0.01,
  use_cache: true,
  bos_token_id: 100_257,
  eos_token_id: 100_257,
  pad_token_id: 100_256,
};

describe('graniteHybridModel', () => {
  const model = graniteHybridModel(published);

  it('is read, and written as it came', () => {
    expect(model.toJson()).toEqual(published);
    expect(model.mixers.flatMap(({ kind }, layer) => (kind === 'softmax' ? [layer] : []))).toEqual([10, 13, 17, 27]);
    const [mamba] = model.mixers;
    expect(mamba).toMatchObject({ kind: 'mamba2', heads: 48, headWidth: 32, state: 128, groups: 1, kernel: 4 });
    expect(model.parameters.get('model.layers.0.mamba.in_proj.weight')?.shape).toEqual([2 * 1536 + 256 + 48, 768]);
    expect(model.parameters.get('model.layers.0.shared_mlp.input_linear.weight')?.shape).toEqual([4096, 768]);
  });

  it.each([[0, null] as const, [0, { __float__: 'Infinity' }] as const])(
    'knows steps without an end: %j',
    (...limit) => {
      expect(graniteHybridModel({ ...published, time_step_limit: limit }).mixers).toEqual(model.mixers);
    },
  );

  it('keeps the state that docs/mixers.md says, whatever the text', () => {
    const [empty, full] = [modelStateBytes(model, 0), modelStateBytes(model, 1000)];
    expect(empty).toBe(28 * 4 * (128 * 1536 + 64 * (2 * 1536 + 3 * 128 + 48)));
    expect(full - empty).toBe(4 * 1000 * 2 * 4 * 64 * 4);
  });

  it('exchanges its attention, and no Mamba-2', () => {
    const window = mixerPreset('window', { group: 8 });
    const changed = withMixer(model, window);
    expect(changed.mixers.map(({ kind }) => kind === 'window')).toEqual(
      model.mixers.map(({ kind }) => kind === 'softmax'),
    );
    expect(graniteHybridModel(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(() => model.withMixers(model.mixers.map(() => window))).toThrow(/linnet\.mixers\[0\] must be .*mamba2/);
  });

  it.each<[object, string]>([
    [{ num_local_experts: 62 }, 'num_local_experts'],
    [{ normalization_function: 'layernorm' }, 'normalization_function'],
    [{ layer_types: ['mamba'] }, 'layer_types has 1 entries for 32 layers'],
    [{ mamba_d_head: 31 }, 'must be the 1536 channels'],
    [{ mamba_n_groups: 5 }, 'does not divide mamba_n_heads 48'],
    [{ position_embedding_type: 'alibi' }, 'position_embedding_type'],
    [{ sliding_window: 4 }, 'unknown: "sliding_window"'],
  ])('refuses %j', (fields, message) => {
    const act = (): unknown => graniteHybridModel({ ...published, ...fields });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(message);
  });
});
