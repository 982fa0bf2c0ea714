/**
 * Translates a GGUF file's architecture to a family's configuration and names: the table, and the parts that most decoders
 * share.
 */
import { LinnetError } from '../../errors.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { centred, transposed } from './changes.ts';
import { hybridArchitectures } from './hybrid-architectures.ts';
import type { Metadata } from './metadata.ts';
import type { NameRules, Rules } from './recipes.ts';
import { textArchitectures } from './text-architectures.ts';
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

/** One layer in this many reads the whole past. */
const gemmaPeriod = 6;
/** Only Gemma 3 27B divides scores by the width over the heads; its layer count identifies it. */
const gemma27Layers = 62;

const gemmaLayer: Rules = {
  ...centredLayer,
  ffn_norm: { to: 'pre_feedforward_layernorm', change: centred },
  post_ffw_norm: { to: 'post_feedforward_layernorm', change: centred },
};

const architectures: Readonly<Record<string, Architecture>> = {
  llama: {
    config: (metadata) => ({ ...decoderConfig(metadata, 'llama', 'Llama'), ...biasesOf(metadata) }),
    rules: turnedRules,
  },
  smollm3: {
    config: (metadata) => ({ ...decoderConfig(metadata, 'smollm3', 'SmolLM3'), no_rope_layer_interval: 4 }),
    rules: turnedRules,
  },
  qwen2: { config: (metadata) => decoderConfig(metadata, 'qwen2', 'Qwen2'), rules: () => decoderRules(usualLayer) },
  qwen3: { config: (metadata) => decoderConfig(metadata, 'qwen3', 'Qwen3'), rules: () => decoderRules(usualLayer) },
  gemma3: {
    config(metadata) {
      // Ollama's files have their own names and omissions, one flag per layer, and pictures.
      const pattern = metadata.get('attention.sliding_window_pattern');
      const scores =
        metadata.layers === gemma27Layers
          ? metadata.number('embedding_length') / metadata.number('attention.head_count')
          : headWidthOf(metadata);
      return {
        ...decoderConfig(metadata, 'gemma3_text', 'Gemma3'),
        hidden_activation: 'gelu_pytorch_tanh',
        sliding_window: metadata.number('attention.sliding_window'),
        rope_theta: metadata.number('rope.freq_base', metadata.number('rope.global.freq_base', 1_000_000)),
        ...(metadata.has('mm.tokens_per_image') &&
          metadata.number('context_length') >= 131_072 &&
          !metadata.has('rope.scaling.factor') && { rope_scaling: { rope_type: 'linear', factor: 8 } }),
        layer_types: Array.isArray(pattern)
          ? pattern.slice(0, metadata.layers).map((local) => (local === true ? 'sliding_attention' : 'full_attention'))
          : layerTypes(metadata, metadata.number('attention.sliding_window_pattern', gemmaPeriod), 'sliding_attention'),
        query_pre_attn_scalar: scores,
        rope_local_base_freq: metadata.number('rope.freq_base_swa', metadata.number('rope.local.freq_base', 10_000)),
        final_logit_softcapping: metadata.numberIf('final_logit_softcapping'),
      };
    },
    rules: ({ tensors }) =>
      decoderRules(
        gemmaLayer,
        centredModel,
        [...tensors.keys()].filter((name) => /^(v|mm)\./.test(name)),
      ),
  },
  gpt2: {
    config: (metadata) => ({
      model_type: 'gpt2',
      architectures: ['GPT2LMHeadModel'],
      vocab_size: metadata.rowsOf('token_embd'),
      n_positions: metadata.rowsOf('position_embd') ?? metadata.number('context_length'),
      n_embd: metadata.number('embedding_length'),
      n_inner: metadata.number('feed_forward_length'),
      n_layer: metadata.layers,
      n_head: metadata.number('attention.head_count'),
      layer_norm_epsilon: metadata.number('attention.layer_norm_epsilon'),
      activation_function: 'gelu_new',
      tie_word_embeddings: !metadata.tensors.has('output.weight'),
    }),
    rules: () => ({
      model: {
        token_embd: 'transformer.wte',
        position_embd: 'transformer.wpe',
        output_norm: 'transformer.ln_f',
        output: 'lm_head',
      },
      layers: {
        blk: {
          to: 'transformer.h',
          rules: {
            attn_norm: 'ln_1',
            attn_qkv: { to: 'attn.c_attn', change: transposed },
            attn_output: { to: 'attn.c_proj', change: transposed },
            ffn_norm: 'ln_2',
            ffn_up: { to: 'mlp.c_fc', change: transposed },
            ffn_down: { to: 'mlp.c_proj', change: transposed },
          },
        },
      },
    }),
  },
  ...hybridArchitectures,
  ...textArchitectures,
};

/**
 * A file's configuration, as a config.json, and its tensors' names.
 * @throws LinnetError `CONFIG` for an unsupported architecture or metadata, `FORMAT` for malformed metadata
 */
export function translate(metadata: Metadata): { readonly config: JsonObject; readonly rules: NameRules } {
  const { architecture, source } = metadata;
  if (!Object.hasOwn(architectures, architecture)) {
    throw new LinnetError(
      'CONFIG',
      `${source} is a model of the architecture ${JSON.stringify(architecture.slice(0, 80))}; Linnet reads ` +
        `${Object.keys(architectures).join(', ')} from GGUF, and more families from safetensors`,
    );
  }
  const { config, rules } = architectures[architecture];
  const described = { ...config(metadata), ...textEnds(metadata), torch_dtype: 'float32' };
  const named = rules(metadata);
  metadata.refuseOthers(harmless);
  return { config: described, rules: named };
}

/** Keys that repeat what tensors tell, or concern training or pictures; a final dot means all keys with the prefix. */
const harmless = [
  'vocab_size',
  'tensor_data_layout',
  'pooling_type',
  'normalize_embeddings',
  'rope.dimension_sections',
  'attention.causal',
  'vision.',
  'mm.',
  'expert_used_count',
  'attention.layer_norm_epsilon',
  'attention.layer_norm_rms_epsilon',
  'context_length',
];

/** Ids of BOS and of every token that ends a text. */
function textEnds(metadata: Metadata): JsonObject {
  const named = [metadata.token('eos'), metadata.token('eot'), metadata.token('eom')].filter((id) => id !== undefined);
  const ends = [...new Set([...named, ...metadata.turnEnds])];
  return {
    bos_token_id: metadata.token('bos'),
    ...(ends.length > 0 && { eos_token_id: ends.length === 1 ? ends[0] : ends }),
  };
}
