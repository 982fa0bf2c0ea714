/**
 * Qwen3.5 (text) and dense Qwen3-Next: Qwen3's decoder with norm gains 1 + w, in which most layers are Gated DeltaNet
 * instead of attention, and attention gates its outputs and rotates a part of every head. Published folders are composite:
 * the text model is in `text_config` and under `model.language_model`; the vision tower is left out.
 */
import { z } from 'zod';
import { configError, everyLayer, linnetSectionOf, onlyValue, parseConfigFields, size } from '../../config-fields.ts';
import type { CausalModel } from '../../model.ts';
import {
  variantBiases,
  type DecoderChanges,
  decoderFields,
  decoderSchema,
  type DecoderVariant,
  parseDecoderConfig,
  usualNames,
} from './config.ts';
import { byKeyHead, deltaNetFields, deltaNetLayer, deltaNetMixers, joined } from './delta-net.ts';
import { decoderFamily, decoderModel } from './model.ts';
import { ropeOf } from './rope.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { offByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

const common = { queryKeyNorm: true, zeroCentredNorms: true, outputGate: true } as const;

const textVariant: DecoderVariant = {
  ...common,
  family: 'qwen3_5_text',
  title: 'Qwen3.5',
  className: 'Qwen3_5',
  ownLayer: deltaNetLayer(joined),
};

const compositeVariant: DecoderVariant = {
  ...textVariant,
  family: 'qwen3_5',
  names: { ...usualNames, root: 'model.language_model', finalNorm: 'model.language_model.norm' },
};

const nextVariant: DecoderVariant = {
  ...common,
  family: 'qwen3_next',
  title: 'Qwen3-Next',
  className: 'Qwen3Next',
  ownLayer: deltaNetLayer(byKeyHead),
};

const fields = {
  ...deltaNetFields,
  max_position_embeddings: size.default(32_768),
  num_key_value_heads: size,
  head_dim: size.default(256),
  attention_bias: offByDefault,
  full_attention_interval: whole(1).default(4),
  linear_key_head_dim: deltaNetFields.linear_key_head_dim.default(128),
  linear_value_head_dim: deltaNetFields.linear_value_head_dim.default(128),
  linear_num_key_heads: deltaNetFields.linear_num_key_heads.default(16),
  linear_num_value_heads: deltaNetFields.linear_num_value_heads.default(32),
  partial_rotary_factor: positiveNumber.max(1).default(0.25),
  attn_output_gate: onlyValue(true, 'outputs of attention are gated'),
  /** For Gated DeltaNet. */
  output_gate_type: z.literal(['silu', 'swish'], 'only "silu", or "swish", is supported').nullish(),
  /**
   * Layers of multi-token prediction; absent even if Qwen3-Next has one. The first one drafts if it has the model's token
   * table.
   */
  mtp_num_hidden_layers: whole().nullish(),
  mtp_use_dedicated_embeddings: z.boolean().nullish(),
  linnet: linnetSectionOf('qwen3_5'),
};

const textSchema = decoderSchema('qwen3_5_text', fields);

const nextSchema = decoderSchema('qwen3_next', {
  ...fields,
  num_experts: onlyValue(0, 'the feed-forward is dense'),
  use_sliding_window: onlyValue(false, 'attention reads the whole past'),
});

const compositeSchema = z.object({
  model_type: z.literal('qwen3_5'),
  text_config: z.record(z.string(), z.unknown()),
  tie_word_embeddings: offByDefault,
  eos_token_id: decoderFields.eos_token_id,
  linnet: z.unknown().optional(),
});

type Fields = z.infer<typeof textSchema>;

/** Fields that the authors' code does not read, or reads only for omitted heads and experts. */
const harmless = [
  'mamba_ssm_dtype',
  'decoder_sparse_step',
  'mlp_only_layers',
  'moe_intermediate_size',
  'norm_topk_prob',
  'num_experts_per_tok',
  'output_router_logits',
  'router_aux_loss_coef',
  'shared_expert_intermediate_size',
];

/** Fields next to the base: the part of a head that rotates, and the rows of picture positions, which are equal in text. */
const ropeNames = ['partial_rotary_factor', 'mrope_interleaved', 'mrope_section'];

/** Fields on pictures, next to the text model. */
const ofPictures = [
  'vision_config',
  'image_token_id',
  'video_token_id',
  'vision_start_token_id',
  'vision_end_token_id',
  'language_model_only',
];

/** Tensors of a published folder outside the text model. */
const otherTensors = /^(model\.visual|visual|vision_tower)\./;

function own({ title }: DecoderVariant, config: Fields): DecoderChanges {
  const factor = (config.rope_parameters ?? config.rope_scaling)?.partial_rotary_factor ?? config.partial_rotary_factor;
  const width = config.head_dim * factor;
  if (!Number.isInteger(width / 2)) {
    throw configError(title, [
      `partial_rotary_factor ${factor} of head_dim ${config.head_dim} must be an even integer`,
    ]);
  }
  const rope = { ...ropeOf(title, config, ropeNames), ...(factor < 1 && { width }) };
  return {
    natives: deltaNetMixers(title, config, {}, (layer) => (layer + 1) % config.full_attention_interval === 0),
    ropes: everyLayer(config.num_hidden_layers, rope),
    hasMtp: config.mtp_num_hidden_layers !== 0 && config.mtp_use_dedicated_embeddings !== true,
    variant: variantBiases(config),
  };
}

export const qwen35TextModel = decoderFamily(textVariant, textSchema, harmless, (found) => own(textVariant, found));

export const qwen3NextModel = decoderFamily(nextVariant, nextSchema, harmless, (found) => own(nextVariant, found));

/** A composite config.json's text model. Its top level says whether the head is tied, and which tokens end a text. */
export function qwen35Model(json: JsonObject): CausalModel {
  const given = parseConfigFields(compositeVariant.title, compositeSchema, json, ofPictures);
  const { text_config: text, tie_word_embeddings, linnet = text.linnet, eos_token_id: eos = text.eos_token_id } = given;
  const flat = { ...text, tie_word_embeddings, eos_token_id: eos, linnet };
  const parsed = parseDecoderConfig(compositeVariant, textSchema, flat, harmless, (found) =>
    own(compositeVariant, found),
  );
  const model = decoderModel({ ...parsed, raw: json }, qwen35Model);
  return {
    ...model,
    unknownFields: [...given.unknownFields, ...parsed.unknownFields],
    parameterName: (stored) => (otherTensors.test(stored) ? undefined : model.parameterName(stored)),
  };
}
