/** config.json fields that the decoder-only families share: LLaMA and its relatives. */
import type { MixedRows } from '../../model.ts';
import { z } from 'zod';
import type { MixerConfig, ProjectedPositions } from '../../../attention/mixer.ts';
import { isExchangeable } from '../../../attention/mixers.ts';
import type { Value } from '../../../graph/graph.ts';
import { mul, silu } from '../../../graph/ops/elementwise.ts';
import type { ParameterList, ParameterSource } from '../../../nn/parameters.ts';
import {
  configError,
  idList,
  layerCount,
  linnetSection,
  mixerProblems,
  parseConfigFields,
  everyLayer,
  originalMixer,
  size,
  textEndFields,
  usualFields,
} from '../../config-fields.ts';
import type { FamilyConfig } from '../family.ts';
import { type Rope, ropeFields, ropeOf } from './rope.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { offByDefault, positiveNumber } from '../../../files/schema-values.ts';

/** A head's rotary frequencies are computed when a model is described. */
const mostHeadWidth = 65_536;

/** The fields that all of them read; a family adds its own, and those with other defaults. */
export const decoderFields = {
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: positiveNumber.max(1).default(1e-6),
  ...ropeFields,
  hidden_act: z.string().default('silu'),
  tie_word_embeddings: offByDefault,
  linnet: linnetSection,
  ...textEndFields,
  ...usualFields,
};

/** Fields without effect on logits: dropout is for training and off, `pretraining_tp` splits products that are summed. */
const ignored = ['attention_dropout', 'pretraining_tp'];

/** Module names that families choose differently: the model, its final norm, and names inside a layer. */
export interface DecoderNames {
  /** The module with embedding and layers. */
  readonly root: string;
  /** Null: attention, or the feed-forward, reads the residual stream without a norm. */
  readonly attentionNorm: string | null;
  /** Norms on the outputs of attention and feed-forward. Default: none. */
  readonly attentionOutputNorm?: string;
  readonly feedForwardOutputNorm?: string;
  readonly feedForwardNorm: string | null;
  readonly finalNorm: string;
  readonly queryNorm: string;
  readonly keyNorm: string;
  readonly output: string;
  readonly gate: string;
  /** Null: the gate's matrix computes both, the gate first. */
  readonly up: string | null;
  readonly down: string;
}

/** LLaMA's. */
export const usualNames: DecoderNames = {
  root: 'model',
  attentionNorm: 'input_layernorm',
  feedForwardNorm: 'post_attention_layernorm',
  finalNorm: 'model.norm',
  queryNorm: 'q_norm',
  keyNorm: 'k_norm',
  output: 'o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
};

/** LLaMA's choices, the default for variants. */
const usualVariant = {
  queryKeyValueBias: false,
  queryKeyNorm: false,
  joinedQueryKeyNorm: false,
  zeroCentredNorms: false,
  outputBias: false,
  feedForwardBias: false,
  outputGate: false,
  activation: silu,
  names: usualNames,
};

/** How a family differs from the others. */
export interface DecoderVariant {
  /** The `model_type` of its config.json. */
  readonly family: string;
  /** Its name in errors. */
  readonly title: string;
  /** The prefix of Hugging Face's classes: "Llama" in LlamaForCausalLM. */
  readonly className: string;
  /** Whether the projections to queries, keys and values have biases. */
  readonly queryKeyValueBias?: boolean;
  /** Whether queries and keys have an RMS norm head by head, before rotation. */
  readonly queryKeyNorm?: boolean;
  /** Whether all heads' queries have one such norm together, and all keys another. */
  readonly joinedQueryKeyNorm?: boolean;
  /** Whether norm gains are 1 + w, where w is stored: zero in a fresh model. */
  readonly zeroCentredNorms?: boolean;
  /** Whether the output has a bias. */
  readonly outputBias?: boolean;
  /** Whether the feed-forward's projections have biases. */
  readonly feedForwardBias?: boolean;
  /** Whether q_proj also computes a gate per query head, whose sigmoid multiplies the head's output. */
  readonly outputGate?: boolean;
  /** The feed-forward's activation. Default: SiLU. */
  readonly activation?: (x: Value) => Value;
  /** Default: LLaMA's. */
  readonly names?: DecoderNames;
  /** Layers whose mixers' kind has its own sizes. Default: none. */
  readonly ownLayer?: OwnLayer;
}

/** Whether projections have biases, in transformers' fields. */
export const biasFields = { attention_bias: z.boolean().nullish(), mlp_bias: z.boolean().nullish() };

/** The biases that a configuration turns on. */
export function variantBiases({ attention_bias, mlp_bias }: Partial<z.infer<z.ZodObject<typeof biasFields>>>) {
  const bias = attention_bias === true;
  return { queryKeyValueBias: bias, outputBias: bias, feedForwardBias: mlp_bias === true };
}

/** A family's own layer instead of attention: its projections around a mixer. */
export interface OwnLayer {
  /** Its module's name in a layer. */
  readonly prefix: string;
  /** Names that differ from layers with attention. */
  readonly names?: DecoderNames;
  /** Declares its parameters, except the mixer's. */
  declare(list: ParameterList, prefix: string, config: DecoderConfig, mixer: MixerConfig): void;
  /** Hidden states after the norm [B,T,width] → the layer's addition to the residual stream. */
  mixed(
    config: DecoderConfig,
    source: ParameterSource,
    x: Value,
    mixer: MixerConfig,
    mix: (positions: ProjectedPositions) => Value,
    rows: MixedRows,
  ): Value;
}

/** A checked configuration. */
export interface DecoderConfig extends FamilyConfig {
  readonly variant: DecoderVariant & typeof usualVariant;
  /** Whether there may be a layer of multi-token prediction; false: leaves such tensors out. Default: the family has none. */
  readonly hasMtp?: boolean;
  /** One per layer, equal ones sharing an object; null: no rotation. */
  readonly ropes: readonly (Rope | null)[];
  /** Factor on scores. Default: 1/√D. */
  readonly scoreScale?: number;
  /** Factors on embeddings, on the outputs of attention and feed-forward, and on logits. Default: 1. */
  readonly embeddingScale?: number;
  readonly residualScale?: number;
  readonly logitScale?: number;
  /** Attention's factors: on its input, on keys, on its output. Default: 1. */
  readonly attentionScales?: readonly [input: number, keys: number, output: number];
  /** The feed-forward's factors: on its gate, on its output. Default: 1. */
  readonly feedForwardScales?: readonly [gate: number, output: number];
  /** c in logits c·tanh(l/c). Default: the head's logits unchanged. */
  readonly logitCap?: number;
  /** One per layer; if layers have attention and `ownLayer` side by side, all attentions, then the others. */
  readonly mixers: readonly MixerConfig[];
  /** The mixers if the `linnet` section names none. */
  readonly natives: readonly MixerConfig[];
}

/** Values that a family derives from its checked fields. */
export interface DecoderChanges extends Partial<Omit<DecoderConfig, 'variant'>> {
  readonly variant?: Partial<DecoderVariant>;
}

/** A value times a factor that a family may lack. */
export function times(x: Value, factor = 1): Value {
  return factor === 1 ? x : mul(x, factor);
}

/**
 * The entries of a config.json list, one per layer.
 * @param absent a layer's entry if there is no list
 * @throws LinnetError `CONFIG` if the list does not have one entry per layer
 */
export function ofLayers<Entry>(
  title: string,
  name: string,
  layers: number,
  list: readonly Entry[] | null | undefined,
  absent: (layer: number) => Entry,
): readonly Entry[] {
  if (list && list.length !== layers)
    throw configError(title, [`${name} has ${list.length} entries for ${layers} layers`]);
  return list ?? Array.from({ length: layers }, (_, layer) => absent(layer));
}

type DecoderFields = z.infer<z.ZodObject<typeof decoderFields>>;

/** A family's schema, made by `decoderSchema`. */
export type DecoderSchema = z.ZodObject & z.ZodType<DecoderFields>;

/** A schema for a family's config.json. @param own fields that add to or replace `decoderFields` */
export function decoderSchema<Own extends z.core.$ZodLooseShape>(family: string, own: Own) {
  return z.object({ ...decoderFields, model_type: z.literal(family) }).extend(own);
}

/**
 * Checks a parsed config.json by a family's schema.
 *
 * @param schema from `decoderSchema`
 * @param harmless family fields that do not change the model's function, besides the common ones
 * @param own derives the family's other values from the checked fields, or throws. Default: none, and softmax in all layers
 * @throws LinnetError `CONFIG` naming every unusable or unknown field and the supported values
 */
export function parseDecoderConfig<Schema extends DecoderSchema>(
  variant: DecoderVariant,
  schema: Schema,
  json: JsonObject,
  harmless: readonly string[] = [],
  own: (config: z.infer<Schema>) => DecoderChanges = () => ({}),
): DecoderConfig {
  const { title } = variant;
  const fields = parseConfigFields(title, schema, json, [...ignored, ...harmless]);
  const config: DecoderFields = fields;
  const heads = config.num_attention_heads;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const headWidth = config.head_dim ?? config.hidden_size / heads;
  const problems: string[] = [];
  if (variant.activation === undefined && config.hidden_act !== 'silu') {
    problems.push(`hidden_act "${config.hidden_act}": only "silu" is supported`);
  }
  if (heads % keyValueHeads !== 0) {
    problems.push(`num_key_value_heads ${keyValueHeads} does not divide num_attention_heads ${heads}`);
  }
  const {
    natives = everyLayer(config.num_hidden_layers, originalMixer),
    ropes: given,
    variant: changes,
    ...others
  } = own(fields);
  const all = given ?? everyLayer(config.num_hidden_layers, ropeOf(title, config));
  const ropes = all.map((rope, layer) => (isExchangeable(natives[layer]) ? rope : null));
  const isTurned = ropes.some((rope) => rope !== null);
  if (headWidth % (isTurned ? 2 : 1) !== 0 || headWidth > mostHeadWidth) {
    problems.push(
      `head width ${headWidth} (head_dim, or hidden_size / num_attention_heads) must be an ${isTurned ? 'even ' : ''}integer ` +
        `up to ${mostHeadWidth}`,
    );
  }
  const mixers = config.linnet?.mixers ?? natives;
  const perLayer = natives.length / config.num_hidden_layers;
  problems.push(...mixerProblems(mixers, natives, `${perLayer === 1 ? '' : `${perLayer} · `}num_hidden_layers`));
  if (problems.length > 0) throw configError(title, problems);
  return {
    variant: { ...usualVariant, ...variant, ...changes },
    raw: json,
    unknownFields: fields.unknownFields,
    vocabulary: config.vocab_size,
    width: config.hidden_size,
    feedForwardWidth: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads,
    keyValueHeads,
    headWidth,
    trainedLength: config.max_position_embeddings,
    normEpsilon: config.rms_norm_eps,
    ropes,
    tiedHead: config.tie_word_embeddings,
    bosId: config.bos_token_id ?? undefined,
    eosIds: idList(config.eos_token_id),
    mixers,
    natives,
    ...others,
  };
}
