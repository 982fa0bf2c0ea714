import { describe, expect, it } from 'vitest';
import { parseMixer } from '../../../attention/mixers.ts';
import { Random } from '../../../random.ts';
import { describeCausalModel } from '../index.ts';
import { initializeParameters } from '../../initialize.ts';
import { gpt2ParameterName, parseGpt2Config } from './config.ts';
import { publishedShape, publishedShapeNames } from '../../presets/presets.ts';

const tiny = { model_type: 'gpt2', vocab_size: 20, n_positions: 12, n_embd: 8, n_layer: 2, n_head: 2 };

describe('published sizes', () => {
  it.each([
    ['gpt2', 124_439_808],
    ['gpt2-medium', 354_823_168],
    ['gpt2-large', 774_030_080],
    ['gpt2-xl', 1_557_611_200],
  ])('%s has %i parameters', (name, expected) => {
    let total = 0;
    for (const { shape } of describeCausalModel(publishedShape(name)).parameters.values())
      total += shape.reduce((a, b) => a * b, 1);
    expect(total).toBe(expected);
    expect(publishedShapeNames).toContain(name);
  });

  it('names the sizes there are', () => {
    expect(() => publishedShape('gpt2-huge')).toThrow(/gpt2-huge.*gpt2, gpt2-medium, gpt2-large, gpt2-xl/);
  });
});

describe('config.json', () => {
  it('has the defaults of GPT-2', () => {
    const config = parseGpt2Config({ model_type: 'gpt2' });
    expect(config).toMatchObject({ vocabulary: 50257, trainedLength: 1024, width: 768, feedForwardWidth: 3072 });
    expect(config).toMatchObject({ activation: 'gelu_new', tiedHead: true, normEpsilon: 1e-5, eosIds: [] });
  });

  it('reads what the published checkpoints say', () => {
    const published = {
      ...publishedShape('gpt2'),
      architectures: ['GPT2LMHeadModel'],
      attn_pdrop: 0.1,
      embd_pdrop: 0.1,
      initializer_range: 0.02,
      n_ctx: 1024,
      resid_pdrop: 0.1,
      summary_activation: null,
      summary_first_dropout: 0.1,
      summary_proj_to_labels: true,
      summary_type: 'cls_index',
      summary_use_proj: true,
      task_specific_params: { 'text-generation': { do_sample: true, max_length: 50 } },
      transformers_version: '4.34.1',
    };
    const model = describeCausalModel(published);
    expect(model.eosIds).toEqual([50256]);
    expect(model.toJson()).toEqual(published);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    [
      'unknown fields',
      { rotary_dim: 4, alibi: true },
      /unknown: "rotary_dim" \(positions\), "alibi" \(positions\): .* leave them out by --ignore rotary_dim --ignore alibi$/,
    ],
    ['heads that do not divide the width', { n_head: 3 }, /n_head 3 does not divide n_embd 8/],
    ['other activations', { activation_function: 'swiglu' }, /gelu_new[\s\S]*activation_function/],
    ['unscaled scores', { scale_attn_weights: false }, /only true is supported/],
    ['scores scaled by layer', { scale_attn_by_inverse_layer_idx: true }, /only false is supported/],
    ['cross attention', { add_cross_attention: true }, /there is no encoder/],
    ['pruned heads', { pruned_heads: { 0: [1] } }, /pruned heads are not supported/],
    [
      'as many mixers as layers',
      { linnet: { version: 1, mixers: [{ kind: 'softmax' }] } },
      /names 1 layers, n_layer is 2/,
    ],
  ])('refuses or names %s', (_, fields, message) => {
    const parse = (): unknown => parseGpt2Config({ ...tiny, ...fields });
    expect(parse).toThrow(message);
    expect(parse).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it('names the mixers only where they are not softmax', () => {
    const model = describeCausalModel(tiny);
    const local = parseMixer({ kind: 'linear', group: 4, local: {} });
    const changed = model.withMixers([local, { kind: 'softmax' }]);
    expect(describeCausalModel(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(changed.withMixers(model.mixers).toJson()).toEqual(tiny);
  });
});

describe('tensor names', () => {
  it.each([
    ['transformer.h.3.attn.c_attn.weight', 'transformer.h.3.attn.c_attn.weight'],
    ['h.3.attn.c_attn.bias', 'transformer.h.3.attn.c_attn.bias'],
    ['wte.weight', 'transformer.wte.weight'],
    ['wpe.weight', 'transformer.wpe.weight'],
    ['ln_f.bias', 'transformer.ln_f.bias'],
    ['h.3.attn.bias', undefined],
    ['transformer.h.3.attn.masked_bias', undefined],
    ['lm_head.weight', undefined],
    ['transformer.h.3.attn.alpha', 'transformer.h.3.attn.global_factor'],
    ['h.3.attn.dconv_ada.weight', 'transformer.h.3.attn.dwconv.weight'],
    ['transformer.h.3.attn.dconv_ada2.weight', undefined],
    ['score.weight', 'score.weight'],
    ['model.norm.weight', 'model.norm.weight'],
  ])('%s is %s', (stored, expected) => {
    expect(gpt2ParameterName(stored, true)).toBe(expected);
  });

  it('keep an untied head', () => {
    expect(gpt2ParameterName('lm_head.weight', false)).toBe('lm_head.weight');
    expect(
      describeCausalModel({ ...tiny, tie_word_embeddings: false }).parameters.get('lm_head.weight')?.shape,
    ).toEqual([20, 8]);
  });
});

describe('random parameters', () => {
  it('start with biases at 0, gains at 1 and small projections into the residual stream', () => {
    const parameters = initializeParameters(describeCausalModel(tiny), new Random(1));
    const deviation = (name: string): number => {
      const data = parameters.get(name)?.data ?? new Float32Array(0);
      return Math.sqrt(data.reduce((total, x) => total + x * x, 0) / data.length);
    };
    expect(deviation('transformer.h.0.attn.c_attn.bias')).toBe(0);
    expect(deviation('transformer.ln_f.bias')).toBe(0);
    expect(deviation('transformer.ln_f.weight')).toBe(1);
    expect(deviation('transformer.h.0.mlp.c_fc.weight') / 0.02).toBeCloseTo(1, 0);
    expect(deviation('transformer.h.0.mlp.c_proj.weight') / 0.01).toBeCloseTo(1, 0);
  });
});
