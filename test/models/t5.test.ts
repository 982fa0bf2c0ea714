import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goldenConfig, goldenNumbers, readGolden } from '../parity/golden.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { relativeBucket } from '../../src/nn/relative-positions.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { parseT5Config } from '../../src/models/families/t5/config.ts';
import { t5Model } from '../../src/models/families/t5/model.ts';
import { t5ParameterName } from '../../src/models/families/t5/parameters.ts';
import { encoderShapeNames, publishedShape } from '../../src/models/presets/presets.ts';

const tiny = { model_type: 't5', vocab_size: 20, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 2, num_heads: 2 };
const softmax = { kind: 'softmax' };

describe('published sizes', () => {
  it.each([
    ['t5-small', 60_506_624],
    ['t5-base', 222_903_552],
    ['t5-large', 737_668_096],
    ['t5-v1_1-small', 76_961_152],
    ['t5-v1_1-base', 247_577_856],
    ['t5-v1_1-large', 783_150_080],
  ])('%s has %i parameters', (name, expected) => {
    let total = 0;
    for (const { shape } of describeModel(publishedShape(name)).parameters.values())
      total += shape.reduce((a, b) => a * b, 1);
    expect(total).toBe(expected);
    expect(encoderShapeNames).toContain(name);
  });

  it('names the sizes there are', () => {
    expect(() => publishedShape('t5-11b')).toThrow(/t5-11b.*t5-small, t5-base/);
  });
});

describe('config.json', () => {
  it('has the defaults of T5', () => {
    const config = parseT5Config({ model_type: 't5' });
    expect(config).toMatchObject({ vocabulary: 32128, width: 512, headWidth: 64, feedForwardWidth: 2048, heads: 8 });
    const { encoder, decoder, cross } = config.mixers;
    expect([encoder.length, decoder.length, cross.length]).toEqual([6, 6, 6]);
    expect(config).toMatchObject({ buckets: 32, farthest: 128, tiedHead: true });
    expect(config).toMatchObject({ startId: 0, padId: 0, eosIds: [1], feedForward: { gated: false }, padding: 'zero' });
  });

  it('reads what the published checkpoints say', () => {
    const published = {
      ...publishedShape('t5-small'),
      architectures: ['T5ForConditionalGeneration'],
      dropout_rate: 0.1,
      initializer_factor: 1,
      output_past: true,
      task_specific_params: { summarization: { early_stopping: true, num_beams: 4, prefix: 'summarize: ' } },
    };
    expect(t5Model(published).toJson()).toEqual(published);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['unknown fields', { rope_theta: 4 }, /unknown: "rope_theta" \(positions\)/],
    ['other feed-forwards', { feed_forward_proj: 'gated-swish' }, /relu.*gated-gelu[\s\S]*feed_forward_proj/],
    ['an odd number of buckets', { relative_attention_num_buckets: 7 }, /must be even/],
    ['distances that buckets exhaust', { relative_attention_max_distance: 16 }, /more than half/],
    ['an encoder alone', { is_encoder_decoder: false }, /only true is supported/],
    ['start tokens that do not exist', { decoder_start_token_id: 20 }, /decoder_start_token_id 20 is outside/],
    ['as many mixers as layers', { linnet: { version: 1, cross: [softmax] } }, /linnet.cross names 1 mixers for 2/],
    [
      'a decoder that reads ahead',
      { linnet: { version: 1, decoder: [softmax, { kind: 'linformer' }] } },
      /linnet.decoder\[1\] reads later tokens/,
    ],
    [
      'a convolution between two texts',
      { linnet: { version: 1, cross: [softmax, { kind: 'yoso', convolution: {} }] } },
      /linnet.cross\[1\]: '.*convolution 63'.* has no cross attention/,
    ],
    [
      'norms that T5 has already',
      { linnet: { version: 1, encoder: [softmax, { kind: 'linear', global: {}, normalize: 'global' }] } },
      /castling and normalize are not defined for T5/,
    ],
    ['sections of other families', { linnet: { version: 1, mixers: [] } }, /mixers/],
  ])('refuses or names %s', (_, fields, message) => {
    const parse = (): unknown => parseT5Config({ ...tiny, ...fields });
    expect(parse).toThrow(message);
    expect(parse).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it('names the parts whose mixers are not softmax', () => {
    const model = t5Model({ ...tiny, num_decoder_layers: 1 });
    expect(model.attentions.map(({ part, layer }) => `${part}${layer}`)).toEqual([
      'encoder0',
      'encoder1',
      'decoder0',
      'cross0',
    ]);
    expect(model.attentionPrefix(3)).toBe('decoder.block.0.layer.1.EncDecAttention');
    const relu = parseMixer({ kind: 'features', map: { name: 'relu' } });
    const changed = model.withMixers([model.mixers[0], model.mixers[1], relu, model.mixers[3]]);
    expect(changed.toJson().linnet).toEqual({ version: 1, decoder: [relu] });
    expect(describeModel(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(changed.withMixers(model.mixers).toJson()).toEqual(model.toJson());
    expect(() => model.withMixers([relu])).toThrow(/1 mixers for 4 attentions/);
  });
});

describe('tensor names', () => {
  it.each([
    ['shared.weight', 'shared.weight'],
    ['encoder.embed_tokens.weight', undefined],
    ['decoder.embed_tokens.weight', undefined],
    ['lm_head.weight', undefined],
    ['decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight', undefined],
    ['decoder.block.1.layer.1.EncDecAttention.dwconv.weight', undefined],
    ['decoder.block.1.layer.1.EncDecAttention.alpha', 'decoder.block.1.layer.1.EncDecAttention.global_factor'],
    ['encoder.block.1.layer.0.SelfAttention.dwconv.weight', 'encoder.block.1.layer.0.SelfAttention.dwconv.weight'],
    ['classification_head.dense.bias', 'classification_head.dense.bias'],
  ])('%s is %s', (stored, expected) => {
    expect(t5ParameterName(stored, true)).toBe(expected);
  });
});

describe('relative positions', () => {
  const io = readGolden('relative_position_buckets');
  const { tables } = goldenConfig(
    'relative_position_buckets',
    z.object({
      tables: z.array(
        z.object({ key: z.string(), num_buckets: z.int(), max_distance: z.int(), bidirectional: z.boolean() }),
      ),
    }),
  );

  it.each(tables)(
    'fall into the buckets of the reference: $key',
    ({ key, num_buckets, max_distance, bidirectional }) => {
      const scheme = { buckets: num_buckets, farthest: max_distance, causal: !bidirectional };
      const positions = goldenNumbers(io, 'relative_position'); // key − query
      expect(positions.map((position) => relativeBucket(-position, scheme))).toEqual(goldenNumbers(io, key));
    },
  );
});
