/** A T5 of two encoder layers and one decoder layer of width 8, with any mixer in its attentions. */
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { float32, type Tensor } from '../../src/graph/tensor.ts';
import type { AttentionPart } from '../../src/models/config-fields.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { t5Model } from '../../src/models/families/t5/model.ts';
import { Random } from '../../src/random.ts';

const tiny = t5Model({
  model_type: 't5',
  ...{ vocab_size: 20, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 2, num_decoder_layers: 1, num_heads: 2 },
  ...{ relative_attention_num_buckets: 8, relative_attention_max_distance: 20 },
});

const G = 4;
const tails: Readonly<Record<AttentionPart, object>> = {
  encoder: { convolution: { kernel: 5 } },
  decoder: { convolution: { kernel: 5 } },
  cross: {},
};
/** A mixer in the form that it has in a part. */
const mixers: Readonly<Record<string, (part: AttentionPart) => MixerInput>> = {
  softmax: () => ({ kind: 'softmax' }),
  'local+global': (part) => ({
    kind: 'linear',
    group: G,
    local: part === 'cross' ? null : {},
    global: {},
    ...tails[part],
  }),
  'local softmax': (part) =>
    part === 'cross'
      ? { kind: 'softmax' }
      : { kind: 'linear', group: G, local: { kernel: 'softmax', scale: 'learned' } },
  'local yoso': (part) =>
    part === 'cross' ? { kind: 'softmax' } : { kind: 'linear', group: G, local: { kernel: 'yoso' }, ...tails[part] },
  relu: (part) => ({ kind: 'features', group: G, map: { name: 'relu' }, ...tails[part] }),
  performer: (part) => ({ kind: 'features', group: G, map: { name: 'performer', features: 8 }, ...tails[part] }),
  transnormer: (part) => ({ kind: 'features', group: G, map: { name: 'elu' }, output: 'rms', ...tails[part] }),
  rfa: (part) => ({ kind: 'features', group: G, map: { name: 'rfa', features: 8 }, ...tails[part] }),
  hedgehog: (part) => ({ kind: 'features', group: G, map: { name: 'hedgehog' }, ...tails[part] }),
  'yoso-hashed': (part) => ({
    ...{ kind: 'features', group: G, map: { name: 'hashes', hashes: 4, bits: 2 }, output: 'unit' },
    ...tails[part],
  }),
  yoso: (part) => ({ kind: 'yoso', ...tails[part] }),
  linformer: (part) =>
    part === 'decoder'
      ? { kind: 'block-linformer', rows: 3, block: G, ...tails[part] }
      : { kind: 'linformer', rows: 3, length: 128, ...tails[part] },
  'linformer, rows a third': (part) =>
    part === 'decoder' ? { kind: 'block-linformer', rows: 2, block: 6 } : { kind: 'softmax' },
};

export const t5MixerNames: readonly string[] = Object.keys(mixers);

/** @param name one of `t5MixerNames` */
export function tinyT5(name: string): EncoderDecoderModel {
  return tinyT5With((part) => parseMixer(mixers[name](part)));
}

/** With the mixer that each part's attentions are given. */
export function tinyT5With(mixerOf: (part: AttentionPart) => MixerConfig): EncoderDecoderModel {
  return tiny.withMixers(tiny.attentions.map(({ part }) => mixerOf(part)));
}

export function randomT5Weights(model: EncoderDecoderModel, seed = 3): Map<string, Tensor> {
  const random = new Random(seed);
  return new Map(
    [...model.parameters].map(([name, { shape }]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      const base = name.includes('norm') ? 1 : 0;
      return [
        name,
        float32(
          shape,
          Float32Array.from({ length: count }, () => base + 0.5 * random.normal()),
        ),
      ];
    }),
  );
}
