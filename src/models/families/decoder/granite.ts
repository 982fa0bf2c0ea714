/**
 * Granite 4 H of dense feed-forwards (IBM): a decoder in which most layers are Mamba-2 in place of attention, which turns no queries
 * and keys, with factors of embeddings, of the residual stream, of scores and of logits.
 */
import { z } from 'zod';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { parseMixer } from '../../../attention/mixers.ts';
import { configError } from '../../config-fields.ts';
import { linnetSectionOf, originalMixer } from '../../linnet-section.ts';
import type { CausalModel } from '../../model.ts';
import {
  decoderFields,
  type DecoderVariant,
  everyLayer,
  onlyValue,
  parseDecoderConfig,
  size,
  usualNames,
} from './config.ts';
import { mambaLayer } from './mamba.ts';
import { decoderModel } from './model.ts';

const variant: DecoderVariant = {
  family: 'granitemoehybrid',
  title: 'Granite 4 H',
  className: 'GraniteMoeHybrid',
  names: { ...usualNames, gate: 'shared_mlp.input_linear', up: null, down: 'shared_mlp.output_linear' },
};

/** The fields of a Mamba-2 layer, as Granite and Falcon-H1 write them. */
export const mambaFields = {
  mamba_n_heads: size.default(128),
  mamba_n_groups: size.default(1),
  mamba_d_state: size.default(256),
  mamba_d_head: z.union([size, z.literal('auto')]).default('auto'),
  mamba_d_conv: z.int().min(1).max(64).default(4),
  mamba_expand: z.number().positive().default(2),
  mamba_conv_bias: z.boolean().default(true),
  mamba_proj_bias: z.boolean().default(false),
  time_step_limit: z.tuple([z.number().min(0), z.number().positive().nullable()]).nullish(),
};

/** Fields of Mamba-2 that the authors' code does not read, or that change no result. */
export const harmlessOfMamba = ['mamba_chunk_size', 'time_step_min', 'time_step_max', 'time_step_floor'];

type MambaFields = z.infer<z.ZodObject<typeof mambaFields>>;

/**
 * The mixer of a Mamba-2 layer.
 * @param channels dI: heads times their width
 * @throws LinnetError `CONFIG` for heads that do not make up the channels, or that are no multiple of the groups
 */
export function mambaMixer(title: string, fields: MambaFields, channels: number): MixerConfig {
  const { mamba_n_heads: heads, mamba_d_head, mamba_n_groups: groups, time_step_limit: limits } = fields;
  const headWidth = mamba_d_head === 'auto' ? channels / heads : mamba_d_head;
  if (heads * headWidth !== channels || !Number.isInteger(headWidth)) {
    throw configError(title, [
      `mamba_n_heads ${heads} times mamba_d_head must be the ${channels} channels of the layer`,
    ]);
  }
  if (heads % groups !== 0) {
    throw configError(title, [`mamba_n_groups ${groups} does not divide mamba_n_heads ${heads}`]);
  }
  return parseMixer({
    ...{ kind: 'mamba2', heads, headWidth, state: fields.mamba_d_state, groups },
    ...{ kernel: fields.mamba_d_conv, bias: fields.mamba_conv_bias, least: limits?.[0], most: limits?.[1] },
  });
}

const schema = z.object({
  ...decoderFields,
  ...mambaFields,
  model_type: z.literal(variant.family),
  intermediate_size: size.default(8192),
  shared_intermediate_size: size.default(1024),
  attention_bias: z.boolean().default(false),
  attention_multiplier: z.number().positive().default(1),
  embedding_multiplier: z.number().positive().default(1),
  residual_multiplier: z.number().positive().default(1),
  logits_scaling: z.number().positive().default(1),
  position_embedding_type: z.enum(['rope', 'nope']).nullish(),
  layer_types: z.array(z.enum(['mamba', 'attention'])).nullish(),
  num_local_experts: onlyValue(0, 'the feed-forward is dense'),
  normalization_function: onlyValue('rmsnorm', 'norms are RMS norms'),
  linnet: linnetSectionOf('granitemoehybrid'),
});

/** Fields of experts, which a dense model does not have, and of training. */
const harmless = [
  ...harmlessOfMamba,
  ...['init_method', 'logits_to_keep', 'num_experts_per_tok', 'output_router_logits', 'router_aux_loss_coef'],
];

/** The model of a config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field */
export function graniteModel(json: Readonly<Record<string, unknown>>): CausalModel {
  const config = parseDecoderConfig(variant, schema, json, harmless, (fields) => {
    const { layer_types: types, num_hidden_layers: layers, attention_bias: hasBias } = fields;
    if (types && types.length !== layers) {
      throw configError(variant.title, [`layer_types names ${types.length} layers of ${layers}`]);
    }
    const mamba = mambaMixer(variant.title, fields, fields.mamba_expand * fields.hidden_size);
    const bias = fields.mamba_proj_bias;
    return {
      variant: {
        ...{ ...variant, queryKeyValueBias: hasBias, outputBias: hasBias },
        ownLayer: mambaLayer({ inputBias: bias, outputBias: bias }),
      },
      natives: Array.from({ length: layers }, (_, layer) => (types?.[layer] === 'attention' ? originalMixer : mamba)),
      ...(fields.position_embedding_type !== 'rope' && { ropes: everyLayer(fields, null) }),
      feedForwardWidth: fields.shared_intermediate_size,
      scoreScale: fields.attention_multiplier,
      embeddingScale: fields.embedding_multiplier,
      residualScale: fields.residual_multiplier,
      logitScale: 1 / fields.logits_scaling,
    };
  });
  return decoderModel(config, graniteModel);
}
