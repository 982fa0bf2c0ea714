/** Hybrids in GGUF files: decoders with other mixers beside or instead of attention. */

import type { JsonObject } from '../../files/json-object.ts';
import { both, centred, filters, flat, negativeExponential, valueColumns, valueRows } from './changes.ts';
import {
  type Architecture,
  biasesOf,
  centredLayer,
  centredModel,
  decoderConfig,
  decoderRules,
  headWidthOf,
  layerTypes,
  turnedRules,
  usualLayer,
} from './decoder-parts.ts';
import type { Metadata } from './metadata.ts';
import { asRule, type Rule, type Rules } from './recipes.ts';
import { refusal } from './refusal.ts';

/** Every layer's type: layers with another mixer have no key-value heads. */
function typesByHeads(metadata: Metadata, attention: string, other: string): readonly string[] {
  return metadata.layered('attention.head_count_kv', 1).map((heads) => (heads > 0 ? attention : other));
}

const mambaLayer: Rules = {
  ssm_in: 'mamba.in_proj',
  ssm_conv1d: { to: 'mamba.conv1d', change: filters },
  'ssm_dt.bias': 'mamba.dt_bias',
  ssm_a: { to: 'mamba.A_log', change: negativeExponential },
  ssm_d: { to: 'mamba.D', change: flat },
  ssm_norm: { to: 'mamba.norm', change: flat },
  ssm_out: 'mamba.out_proj',
};

function mambaConfig(metadata: Metadata): JsonObject {
  const heads = metadata.number('ssm.time_step_rank');
  const channels = metadata.number('ssm.inner_size');
  return {
    mamba_n_heads: heads,
    mamba_d_head: channels / heads,
    mamba_n_groups: metadata.number('ssm.group_count', 1),
    mamba_d_state: metadata.number('ssm.state_size'),
    mamba_d_conv: metadata.number('ssm.conv_kernel'),
    mamba_expand: channels / metadata.number('embedding_length'),
    mamba_conv_bias: [...metadata.tensors.keys()].some((name) => name.endsWith('ssm_conv1d.bias')),
  };
}

/** Granite's factors, which the conversion renames. */
function graniteFactors(metadata: Metadata): JsonObject {
  return {
    attention_multiplier: metadata.number('attention.scale', headWidthOf(metadata) ** -0.5),
    embedding_multiplier: metadata.number('embedding_scale', 1),
    residual_multiplier: metadata.number('residual_scale', 1),
    logits_scaling: metadata.number('logit_scale', 1),
  };
}

/** Names in the multi-token prediction layer, the first after the ordinary ones. */
function mtpRules({ layers, draftLayers }: Metadata): Rules {
  if (draftLayers === 0) return {};
  const layer = Object.entries(centredLayer).map(([name, rule]): [string, Rule] => {
    const { to, change } = asRule(rule);
    return [name, { to: `mtp.layers.0.${to}`, change }];
  });
  const others: Rules = {
    'nextn.eh_proj': 'mtp.fc',
    'nextn.enorm': { to: 'mtp.pre_fc_norm_embedding', change: centred },
    'nextn.hnorm': { to: 'mtp.pre_fc_norm_hidden', change: centred },
    'nextn.shared_head_norm': { to: 'mtp.norm', change: centred },
  };
  return Object.fromEntries(
    [...layer, ...Object.entries(others)].map(([name, rule]) => [`blk.${layers}.${name}`, rule]),
  );
}

/** By the file's architecture name. */
export const hybridArchitectures: Readonly<Record<string, Architecture>> = {
  lfm2: {
    config(metadata) {
      const { rms_norm_eps, intermediate_size, ...shared } = decoderConfig(metadata, 'lfm2', 'Lfm2');
      return {
        ...shared,
        intermediate_size,
        block_auto_adjust_ff_dim: false,
        norm_eps: rms_norm_eps,
        conv_L_cache: metadata.number('shortconv.l_cache'),
        layer_types: typesByHeads(metadata, 'full_attention', 'conv'),
      };
    },
    rules: () =>
      decoderRules(
        {
          ...usualLayer,
          attn_norm: 'operator_norm',
          attn_output: 'self_attn.out_proj',
          attn_q_norm: 'self_attn.q_layernorm',
          attn_k_norm: 'self_attn.k_layernorm',
          'shortconv.conv': { to: 'conv.conv', change: filters },
          'shortconv.in_proj': 'conv.in_proj',
          'shortconv.out_proj': 'conv.out_proj',
          ffn_norm: 'ffn_norm',
          ffn_gate: 'feed_forward.w1',
          ffn_up: 'feed_forward.w3',
          ffn_down: 'feed_forward.w2',
        },
        { token_embd_norm: 'model.embedding_norm' },
      ),
  },
  granitehybrid: {
    config(metadata) {
      const { intermediate_size, ...shared } = decoderConfig(metadata, 'granitemoehybrid', 'GraniteMoeHybrid');
      return {
        ...shared,
        ...graniteFactors(metadata),
        ...mambaConfig(metadata),
        shared_intermediate_size: intermediate_size,
        num_local_experts: 0,
        layer_types: typesByHeads(metadata, 'attention', 'mamba'),
        position_embedding_type: metadata.flag('rope.scaling.finetuned', true) ? 'rope' : 'nope',
      };
    },
    rules: (metadata) =>
      turnedRules(metadata, {
        ...mambaLayer,
        ffn_gate: { to: 'shared_mlp.input_linear', part: 0 },
        ffn_up: { to: 'shared_mlp.input_linear', part: 1 },
        ffn_down: 'shared_mlp.output_linear',
      }),
  },
  granite: {
    config(metadata) {
      if (metadata.flag('rope.scaling.finetuned', true)) {
        // Granite 4 without recurrent layers is converted as a hybrid.
        if (metadata.has('ssm.inner_size')) mambaConfig(metadata);
        const biases = biasesOf(metadata);
        return { ...decoderConfig(metadata, 'granite', 'Granite'), ...graniteFactors(metadata), ...biases };
      }
      throw refusal(metadata.source, 'does not rotate queries and keys, as dense Granite does');
    },
    rules: turnedRules,
  },
  'falcon-h1': {
    config(metadata) {
      const hasNorm = metadata.tensors.has('blk.0.ssm_norm.weight');
      return {
        ...decoderConfig(metadata, 'falcon_h1', 'FalconH1'),
        ...mambaConfig(metadata),
        mamba_d_ssm: metadata.number('ssm.inner_size'),
        mamba_rms_norm: hasNorm,
        mamba_norm_before_gate: false,
      };
    },
    rules: () =>
      decoderRules(
        {
          ...usualLayer,
          ...mambaLayer,
          ffn_norm: { to: 'pre_ff_layernorm.weight' },
          ffn_gate: 'feed_forward.gate_proj',
          ffn_up: 'feed_forward.up_proj',
          ffn_down: 'feed_forward.down_proj',
        },
        { output_norm: 'model.final_layernorm' },
      ),
  },
  qwen35: {
    config(metadata) {
      const turned = metadata.number('rope.dimension_count', headWidthOf(metadata) / 4);
      const heads = metadata.number('ssm.time_step_rank');
      return {
        ...decoderConfig(metadata, 'qwen3_5_text', 'Qwen3_5', turned),
        partial_rotary_factor: turned / headWidthOf(metadata),
        linear_key_head_dim: metadata.number('ssm.state_size'),
        linear_value_head_dim: metadata.number('ssm.inner_size') / heads,
        linear_num_key_heads: metadata.number('ssm.group_count'),
        linear_num_value_heads: heads,
        linear_conv_kernel_dim: metadata.number('ssm.conv_kernel'),
        layer_types: layerTypes(metadata, metadata.number('full_attention_interval', 4), 'linear_attention'),
      };
    },
    rules(metadata) {
      const heads = { heads: metadata.number('ssm.time_step_rank'), keyHeads: metadata.number('ssm.group_count') };
      const width = metadata.number('ssm.inner_size') / heads.heads;
      const queriesAndKeys = 2 * heads.keyHeads * metadata.number('ssm.state_size');
      const values = valueRows(heads, width, queriesAndKeys);
      const single = valueRows(heads, 1);
      return decoderRules(
        {
          ...centredLayer,
          attn_qkv: { to: 'linear_attn.in_proj_qkv', change: values },
          attn_gate: { to: 'linear_attn.in_proj_z', change: valueRows(heads, width) },
          ssm_beta: { to: 'linear_attn.in_proj_b', change: single },
          ssm_alpha: { to: 'linear_attn.in_proj_a', change: single },
          ssm_conv1d: { to: 'linear_attn.conv1d', change: both(filters, values) },
          'ssm_dt.bias': { to: 'linear_attn.dt_bias', change: single },
          ssm_a: { to: 'linear_attn.A_log', change: both(negativeExponential, single) },
          ssm_norm: 'linear_attn.norm',
          ssm_out: { to: 'linear_attn.out_proj', change: valueColumns(heads, width) },
        },
        { ...centredModel, ...mtpRules(metadata) },
        // Only the first multi-token prediction layer drafts.
        [...metadata.tensors.keys()].filter((name) => Number(/^blk\.(\d+)/.exec(name)?.[1]) > metadata.layers),
      );
    },
  },
};
