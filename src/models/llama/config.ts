/** config.json of LLaMA checkpoints, and the `linnet` section we add to it. */
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { LinnetError } from '../../errors.ts';
import type { RotaryScaling } from '../../nn/rotary-positions.ts';
import { configError, tokenIds } from '../config-fields.ts';
import { linnetSection, mixerCountProblems, sectionMixers } from '../linnet-section.ts';

const size = z
  .int()
  .min(1)
  .max(1 << 24);

const scalingSchema = z.looseObject({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: size.optional(),
});

const llamaSchema = z.looseObject({
  model_type: z.literal('llama'),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: z.int().min(1).max(4096),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().default(10000),
  rope_scaling: scalingSchema.nullish(),
  // Since version 5, transformers writes base and scaling together.
  rope_parameters: scalingSchema.extend({ rope_theta: z.number().positive().optional() }).nullish(),
  hidden_act: z.string().default('silu'),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
  linnet: linnetSection,
});

/** A checked configuration; fields that we do not use stay in `raw`. */
export interface LlamaConfig {
  readonly raw: Readonly<Record<string, unknown>>;
  readonly vocabulary: number;
  readonly width: number;
  readonly feedForwardWidth: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headWidth: number;
  readonly trainedLength: number;
  readonly normEpsilon: number;
  readonly ropeBase: number;
  readonly ropeScaling?: RotaryScaling;
  readonly tiedHead: boolean;
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  readonly mixers: readonly MixerConfig[];
}

/**
 * Checks a parsed config.json.
 * @throws LinnetError `CONFIG` naming every unusable field, with what is supported
 */
export function parseLlamaConfig(json: Readonly<Record<string, unknown>>): LlamaConfig {
  const result = llamaSchema.safeParse(json);
  if (!result.success) {
    throw configError('LLaMA', [z.prettifyError(result.error)], result.error);
  }
  const config = result.data;
  const heads = config.num_attention_heads;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const headWidth = config.head_dim ?? config.hidden_size / heads;
  const problems: string[] = [];
  if (config.hidden_act !== 'silu') problems.push(`hidden_act "${config.hidden_act}": only "silu" is supported`);
  if (config.attention_bias || config.mlp_bias) problems.push('attention_bias and mlp_bias: only false is supported');
  if (heads % keyValueHeads !== 0) {
    problems.push(`num_key_value_heads ${keyValueHeads} does not divide num_attention_heads ${heads}`);
  }
  if (!Number.isInteger(headWidth) || headWidth % 2 !== 0) {
    problems.push(`head width ${headWidth} (head_dim, or hidden_size / num_attention_heads) must be an even integer`);
  }
  const mixers = sectionMixers(config.linnet, config.num_hidden_layers);
  problems.push(...mixerCountProblems(mixers.length, config.num_hidden_layers, 'num_hidden_layers'));
  if (problems.length > 0) throw configError('LLaMA', problems);
  return {
    raw: json,
    vocabulary: config.vocab_size,
    width: config.hidden_size,
    feedForwardWidth: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads,
    keyValueHeads,
    headWidth,
    trainedLength: config.max_position_embeddings,
    normEpsilon: config.rms_norm_eps,
    ropeBase: config.rope_parameters?.rope_theta ?? config.rope_theta,
    ropeScaling: parseScaling(config.rope_parameters ?? config.rope_scaling ?? undefined),
    tiedHead: config.tie_word_embeddings,
    bosId: config.bos_token_id ?? undefined,
    eosIds: tokenIds(config.eos_token_id),
    mixers,
  };
}

type ScalingJson = z.infer<typeof scalingSchema>;

/** One entry per kind of rope scaling; a missing number is reported by the name it has in config.json. */
const scalings: Readonly<Record<string, (json: ScalingJson) => RotaryScaling | undefined>> = {
  default: () => undefined,
  linear: (json) => ({ type: 'linear', factor: given(json.factor, 'factor') }),
  llama3: (json) => ({
    type: 'llama3',
    factor: given(json.factor, 'factor'),
    lowFrequencyFactor: given(json.low_freq_factor, 'low_freq_factor'),
    highFrequencyFactor: given(json.high_freq_factor, 'high_freq_factor'),
    originalLength: given(json.original_max_position_embeddings, 'original_max_position_embeddings'),
  }),
};

function given(value: number | undefined, name: string): number {
  if (value === undefined) throw configError('LLaMA', [`rope_scaling.${name} is missing`]);
  return value;
}

function parseScaling(json: ScalingJson | undefined): RotaryScaling | undefined {
  if (json === undefined) return undefined;
  const type = json.rope_type ?? json.type ?? 'default';
  if (!Object.hasOwn(scalings, type)) {
    throw new LinnetError(
      'CONFIG',
      `rope_scaling type "${type}" is not supported; known: ${Object.keys(scalings).join(', ')}`,
    );
  }
  return scalings[type](json);
}
