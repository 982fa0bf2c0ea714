/**
 * Granite 4 H of dense feed-forwards (IBM): a decoder in which most layers are Mamba-2 in place of attention, which turns no queries
 * and keys, with factors of embeddings, of the residual stream, of scores and of logits.
 */
import { z } from 'zod';
import { onlyValue, size } from '../../config-fields.ts';
import { linnetSectionOf, originalMixer } from '../../linnet-section.ts';
import { decoderFields, type DecoderVariant, everyLayer, ofLayers, usualNames } from './config.ts';
import { harmlessOfMamba, mambaFields, mambaLayer, mambaMixer } from './mamba.ts';
import { decoderFamily } from './model.ts';

const variant: DecoderVariant = {
  family: 'granitemoehybrid',
  title: 'Granite 4 H',
  className: 'GraniteMoeHybrid',
  names: { ...usualNames, gate: 'shared_mlp.input_linear', up: null, down: 'shared_mlp.output_linear' },
};

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

export const graniteModel = decoderFamily(variant, schema, harmless, (fields) => {
  const { layer_types: types, num_hidden_layers: layers, attention_bias: hasBias } = fields;
  const mamba = mambaMixer(variant.title, fields, fields.mamba_expand * fields.hidden_size);
  const bias = fields.mamba_proj_bias;
  return {
    variant: {
      ...{ ...variant, queryKeyValueBias: hasBias, outputBias: hasBias },
      ownLayer: mambaLayer({ inputBias: bias, outputBias: bias }),
    },
    natives: ofLayers(variant.title, 'layer_types', layers, types, () => 'mamba').map((type) =>
      type === 'attention' ? originalMixer : mamba,
    ),
    ...(fields.position_embedding_type !== 'rope' && { ropes: everyLayer(fields, null) }),
    feedForwardWidth: fields.shared_intermediate_size,
    scoreScale: fields.attention_multiplier,
    embeddingScale: fields.embedding_multiplier,
    residualScale: fields.residual_multiplier,
    logitScale: 1 / fields.logits_scaling,
  };
});
