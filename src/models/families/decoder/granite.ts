/**
 * Granite (IBM): a decoder with factors on embeddings, residual stream, scores and logits. Granite 3 and dense Granite 4
 * have attention in all layers; in Granite 4 H most layers are Mamba-2 instead, and attention does not rotate queries and
 * keys.
 */
import { z } from 'zod';
import { everyLayer, linnetSectionOf, onlyValue, originalMixer, size } from '../../config-fields.ts';
import {
  biasFields,
  type DecoderConfig,
  decoderSchema,
  type DecoderVariant,
  ofLayers,
  usualNames,
  variantBiases,
} from './config.ts';
import { harmlessOfMamba, mambaFields, mambaLayer, mambaMixer } from './mamba.ts';
import { decoderFamily } from './model.ts';
import { positiveNumber } from '../../../files/schema-values.ts';

const factor = positiveNumber.default(1);

/** Both generations' factors. */
const factorFields = {
  attention_multiplier: factor,
  embedding_multiplier: factor,
  residual_multiplier: factor,
  logits_scaling: factor,
};

function factorsOf(fields: z.infer<z.ZodObject<typeof factorFields>>): Partial<DecoderConfig> {
  return {
    scoreScale: fields.attention_multiplier,
    embeddingScale: fields.embedding_multiplier,
    residualScale: fields.residual_multiplier,
    logitScale: 1 / fields.logits_scaling,
  };
}

export const graniteModel = decoderFamily(
  { family: 'granite', title: 'Granite', className: 'Granite' },
  decoderSchema('granite', { ...biasFields, ...factorFields }),
  ['logits_to_keep'],
  (fields) => ({ ...factorsOf(fields), variant: variantBiases(fields) }),
);

const variant: DecoderVariant = {
  family: 'granitemoehybrid',
  title: 'Granite 4 H',
  className: 'GraniteMoeHybrid',
  names: { ...usualNames, gate: 'shared_mlp.input_linear', up: null, down: 'shared_mlp.output_linear' },
};

const schema = decoderSchema(variant.family, {
  ...mambaFields,
  ...factorFields,
  attention_bias: biasFields.attention_bias,
  intermediate_size: size.default(8192),
  shared_intermediate_size: size.default(1024),
  position_embedding_type: z.enum(['rope', 'nope']).nullish(),
  layer_types: z.array(z.enum(['mamba', 'attention'])).nullish(),
  num_local_experts: onlyValue(0, 'the feed-forward is dense'),
  normalization_function: onlyValue('rmsnorm', 'norms are RMS norms'),
  linnet: linnetSectionOf('granitemoehybrid'),
});

/** Fields on experts, which a dense model lacks, and on training. */
const harmless = [
  ...harmlessOfMamba,
  'init_method',
  'logits_to_keep',
  'num_experts_per_tok',
  'output_router_logits',
  'router_aux_loss_coef',
];

export const graniteHybridModel = decoderFamily(variant, schema, harmless, (fields) => {
  const { layer_types: types, num_hidden_layers: layers } = fields;
  const mamba = mambaMixer(variant.title, fields, fields.mamba_expand * fields.hidden_size);
  const bias = fields.mamba_proj_bias;
  return {
    variant: { ...variantBiases(fields), ownLayer: mambaLayer({ inputBias: bias, outputBias: bias }) },
    natives: ofLayers(variant.title, 'layer_types', layers, types, () => 'mamba').map((type) =>
      type === 'attention' ? originalMixer : mamba,
    ),
    ...(fields.position_embedding_type !== 'rope' && { ropes: everyLayer(fields.num_hidden_layers, null) }),
    feedForwardWidth: fields.shared_intermediate_size,
    ...factorsOf(fields),
  };
});
