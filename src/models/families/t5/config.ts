/** config.json of T5 checkpoints, version 1.0 (relu) and 1.1 (gated gelu), and the `linnet` section we add to it. */
import { z } from 'zod';
import { plainForm, t5Form, t5Problems } from '../../../attention/kinds/t5-linear/forms.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { crossForm, isCausal } from '../../../attention/mixers.ts';
import { LinnetError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { geluTanh } from '../../../graph/ops/activations.ts';
import { relu } from '../../../graph/ops/elementwise.ts';
import {
  type AttentionPart,
  type PartMixers,
  attentionParts,
  configError,
  encoderDecoderSection,
  idList,
  layerCount,
  onlyValue,
  parseConfigFields,
  partMixers,
  size,
  textEndFields,
} from '../../config-fields.ts';
import type { FamilyConfig } from '../family.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { onByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

/** A feed-forward layer. */
interface T5FeedForward {
  /** Whether a second projection multiplies the activation. */
  readonly gated: boolean;
  readonly activation: (x: Value) => Value;
}

/** By config.json name. */
const feedForwards: Readonly<Record<'relu' | 'gated-gelu', T5FeedForward>> = {
  relu: { gated: false, activation: relu },
  'gated-gelu': { gated: true, activation: geluTanh },
};

const t5Schema = z.looseObject({
  model_type: z.literal('t5'),
  vocab_size: size.default(32128),
  d_model: size.default(512),
  d_kv: size.default(64),
  d_ff: size.default(2048),
  num_layers: layerCount.default(6),
  num_decoder_layers: layerCount.nullish(),
  num_heads: size.default(8),
  n_positions: size.default(512),
  relative_attention_num_buckets: whole(4, 1 << 16)
    .refine((buckets) => buckets % 2 === 0, 'must be even: half of the buckets are for later positions')
    .default(32),
  relative_attention_max_distance: size.default(128),
  feed_forward_proj: z.enum(['relu', 'gated-gelu']).default('relu'),
  layer_norm_epsilon: positiveNumber.max(1).default(1e-6),
  tie_word_embeddings: onByDefault,
  is_encoder_decoder: onlyValue(true, 'there is no encoder without its decoder'),
  pad_token_id: whole().nullish(),
  eos_token_id: textEndFields.eos_token_id,
  decoder_start_token_id: whole().nullish(),
  linnet: encoderDecoderSection,
});

/** Dropout is for training and off here; the two activation fields repeat `feed_forward_proj`. */
const ignored = [
  'dropout_rate',
  'classifier_dropout',
  'initializer_factor',
  'dense_act_fn',
  'is_gated_act',
  'output_past',
  'use_cache',
];

/**
 * `trainedLength` is the training texts' length; relative positions are unbounded. `headWidth` is d_kv: heads need not fill
 * the width. A tied head scales by 1/√d_model, then multiplies by the embedding.
 */
export interface T5Config extends Omit<FamilyConfig, 'layers' | 'mixers' | 'bosId'> {
  readonly feedForward: T5FeedForward;
  readonly buckets: number;
  readonly farthest: number;
  readonly padId: number;
  readonly startId: number;
  readonly mixers: PartMixers;
  readonly padding: 'zero' | 'read';
}

/** Checks a parsed config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field and the supported values */
export function parseT5Config(json: JsonObject): T5Config {
  const config = parseConfigFields('T5', t5Schema, json, ignored);
  const decoderLayers = config.num_decoder_layers ?? config.num_layers;
  const layers = { encoder: config.num_layers, decoder: decoderLayers, cross: decoderLayers };
  const mixers = partMixers(config.linnet, layers);
  const padId = config.pad_token_id ?? 0;
  const startId = config.decoder_start_token_id ?? padId;
  const eosIds = idList(config.eos_token_id ?? 1);
  const padding = config.linnet?.padding ?? 'zero';
  const problems = attentionParts.flatMap((part) => mixerProblems(part, mixers[part], layers[part]));
  if (config.relative_attention_max_distance <= config.relative_attention_num_buckets / 2) {
    problems.push(
      `relative_attention_max_distance ${config.relative_attention_max_distance} must be more than half of ` +
        `relative_attention_num_buckets ${config.relative_attention_num_buckets}`,
    );
  }
  for (const [name, id] of [
    ['pad_token_id', padId],
    ['decoder_start_token_id', startId],
  ] as const) {
    if (id >= config.vocab_size) problems.push(`${name} ${id} is outside the vocabulary of ${config.vocab_size}`);
  }
  if (problems.length > 0) throw configError('T5', problems);
  return {
    raw: json,
    unknownFields: config.unknownFields,
    vocabulary: config.vocab_size,
    width: config.d_model,
    headWidth: config.d_kv,
    heads: config.num_heads,
    keyValueHeads: config.num_heads,
    feedForwardWidth: config.d_ff,
    feedForward: feedForwards[config.feed_forward_proj],
    trainedLength: config.n_positions,
    buckets: config.relative_attention_num_buckets,
    farthest: config.relative_attention_max_distance,
    normEpsilon: config.layer_norm_epsilon,
    tiedHead: config.tie_word_embeddings,
    padId,
    startId,
    eosIds,
    mixers: mapParts(mixers, (mixer) => t5Form(mixer, padding)),
    padding,
  };
}

/** Problems of a part's mixers in T5. */
function mixerProblems(part: AttentionPart, mixers: readonly MixerConfig[], layers: number): string[] {
  const problems: string[] = [];
  if (mixers.length !== layers) problems.push(`linnet.${part} names ${mixers.length} mixers for ${layers} layers`);
  mixers.forEach((mixer, layer) => {
    const where = `linnet.${part}[${layer}]`;
    problems.push(...t5Problems(mixer).map((problem) => `${where}: ${problem}`));
    if (part === 'decoder' && !isCausal(mixer)) problems.push(`${where} reads later tokens; a decoder cannot`);
    if (part !== 'cross') return;
    try {
      crossForm(t5Form(mixer, 'zero'));
    } catch (error) {
      if (!(error instanceof LinnetError)) throw error;
      problems.push(`${where}: ${error.message}`);
    }
  });
  return problems;
}

/** Mixers in config.json's form, which writes T5's own form as the linear kind. */
export function plainMixers(mixers: PartMixers): PartMixers {
  return mapParts(mixers, plainForm);
}

function mapParts({ encoder, decoder, cross }: PartMixers, change: (mixer: MixerConfig) => MixerConfig): PartMixers {
  return { encoder: encoder.map(change), decoder: decoder.map(change), cross: cross.map(change) };
}
