/** Shared parts of decoders in GGUF files: tensor names and configuration fields. */
import { LinnetError } from '../../errors.ts';
import { shownValue } from '../../files/name-list.ts';
import { ropeOf } from '../../models/families/decoder/rope.ts';
import { rotaryFrequencies } from '../../nn/positions.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { centred, turnedHeads } from './changes.ts';
import type { Metadata } from './metadata.ts';
import type { NameRules, Rules } from './recipes.ts';
import { refusal } from './refusal.ts';

/** Describes an architecture as a family. */
export interface Architecture {
  /** The config.json, without token ids. */
  readonly config: (metadata: Metadata) => JsonObject;
  readonly rules: (metadata: Metadata) => NameRules;
}

/** Names in a LLaMA layer. */
export const usualLayer: Rules = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** The same with norms stored as 1 + w, queries' and keys' included. */
export const centredLayer: Rules = {
  ...usualLayer,
  attn_norm: { to: 'input_layernorm', change: centred },
  post_attention_norm: { to: 'post_attention_layernorm', change: centred },
  attn_q_norm: { to: 'self_attn.q_norm', change: centred },
  attn_k_norm: { to: 'self_attn.k_norm', change: centred },
};

/** Names outside the layers. */
export const centredModel: Rules = { output_norm: { to: 'model.norm', change: centred } };

/** Type by layer: the last of every `period` reads the whole past. */
export function layerTypes(metadata: Metadata, period: number, other: string): readonly string[] {
  return Array.from({ length: metadata.layers }, (_, layer) => ((layer + 1) % period === 0 ? 'full_attention' : other));
}

/** A decoder's rules. @param model names outside layers that differ from LLaMA's. @param unread tensors to leave out */
export function decoderRules(layer: Rules, model: Rules = {}, unread: readonly string[] = []): NameRules {
  return {
    model: { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head', ...model },
    layers: { blk: { to: 'model.layers', rules: layer } },
    others: ['rope_freqs.weight', ...unread],
  };
}

/** LLaMA and models converted like it: turns query and key rows back. @param layer names that differ from LLaMA's */
export function turnedRules(metadata: Metadata, layer: Rules = {}): NameRules {
  const change = turnedHeads(headWidthOf(metadata));
  const projections = { attn_q: { to: 'self_attn.q_proj', change }, attn_k: { to: 'self_attn.k_proj', change } };
  return decoderRules({ ...usualLayer, ...projections, ...layer });
}

/** D: a head's width. @throws LinnetError `CONFIG` if keys and values differ in it */
export function headWidthOf(metadata: Metadata): number {
  const usual = metadata.number('embedding_length') / metadata.number('attention.head_count');
  const width = metadata.number('attention.key_length', usual);
  if (metadata.number('attention.value_length', width) === width) return width;
  throw refusal(metadata.source, 'has keys and values of different widths, which Linnet does not support');
}

/** Fields common to decoders of family `type`. @param turned rotated features per head. Default: all */
export function decoderConfig(metadata: Metadata, type: string, className: string, turned?: number): JsonObject {
  const heads = metadata.number('attention.head_count');
  const headWidth = headWidthOf(metadata);
  const rotated = metadata.number('rope.dimension_count', turned ?? headWidth);
  if (rotated !== (turned ?? headWidth)) {
    throw refusal(metadata.source, `rotates ${rotated} of ${headWidth} features per head, which ${type} does not`);
  }
  if (!metadata.flag('attention.causal', true))
    throw refusal(metadata.source, `reads later tokens, which ${type} does not`);
  return {
    model_type: type,
    architectures: [`${className}ForCausalLM`],
    vocab_size: metadata.rowsOf('token_embd'),
    hidden_size: metadata.number('embedding_length'),
    // Granite 4 may state an expert width without having experts.
    intermediate_size: metadata.number('expert_shared_feed_forward_length', metadata.number('feed_forward_length')),
    num_hidden_layers: metadata.layers,
    num_attention_heads: heads,
    num_key_value_heads: Math.max(...metadata.layered('attention.head_count_kv', heads)),
    head_dim: headWidth,
    max_position_embeddings: metadata.number('context_length'),
    rms_norm_eps: metadata.number('attention.layer_norm_rms_epsilon', type === 'gemma3_text' ? 1e-6 : undefined),
    rope_theta: metadata.number('rope.freq_base', 10_000),
    tie_word_embeddings: !metadata.tensors.has('output.weight'),
    rope_scaling: ropeScaling(metadata, headWidth),
  };
}

/** Whether projections have biases, judged by the tensors. */
export function biasesOf({ tensors }: Metadata): JsonObject {
  return { attention_bias: tensors.has('blk.0.attn_q.bias'), mlp_bias: tensors.has('blk.0.ffn_down.bias') };
}

/** Yarn's fields with defaults, and the conversion's metadata for them. */
const yarnFields = [
  ['beta_fast', 'beta_fast'],
  ['beta_slow', 'beta_slow'],
  ['attention_factor', 'attn_factor'],
];

/** The position scaling. @throws LinnetError `CONFIG` for an unknown one */
function ropeScaling(metadata: Metadata, headWidth: number): JsonObject | undefined {
  const type = metadata.text('rope.scaling.type', 'linear');
  const factor = metadata.number('rope.scaling.factor', metadata.number('rope.scale_linear', 1));
  const original = metadata.numberIf('rope.scaling.original_context_length');
  metadata.flag('rope.scaling.finetuned', true);
  const { ropeFactors } = metadata;
  if (ropeFactors.length > 0) return dividedAngles(metadata, ropeFactors, headWidth);
  if (type === 'none' || factor === 1) return undefined;
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type === 'yarn') {
    const length = original ?? metadata.number('context_length');
    const given = yarnFields.flatMap(([field, key]) => {
      const value = metadata.numberIf(`rope.scaling.yarn_${key}`);
      return value === undefined ? [] : [[field, value] as const];
    });
    const extrapolated = metadata.number('rope.scaling.yarn_ext_factor', 1);
    if (extrapolated !== 1) throw refusal(metadata.source, `extrapolates positions by ${extrapolated}; expected 1`);
    return { rope_type: 'yarn', factor, original_max_position_embeddings: length, ...Object.fromEntries(given) };
  }
  throw refusal(metadata.source, `scales positions by ${shownValue(type)}; expected linear or yarn`);
}

/** LLaMA 3.1's and 3.2's numbers. */
const llama3 = [8, 32].map((factor) => ({
  factor,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
}));

/** A scaling that divides each pair's angle by its own factor; recognizes LLaMA 3's. */
function dividedAngles(metadata: Metadata, factors: readonly number[], headWidth: number): JsonObject {
  const base = metadata.number('rope.freq_base', 10_000);
  if (factors.length !== headWidth / 2) {
    throw new LinnetError(
      'TENSOR',
      `${metadata.source}: rope_freqs.weight holds ${factors.length} numbers of ${headWidth / 2}`,
    );
  }
  const plain = rotaryFrequencies({ width: headWidth, base });
  for (const fields of llama3) {
    const scaling = { rope_type: 'llama3', ...fields };
    const rope = ropeOf('llama', { rope_theta: base, rope_scaling: scaling });
    const scaled = rotaryFrequencies({ width: headWidth, ...rope });
    if (scaled.every((frequency, i) => Math.abs((frequency * factors[i]) / plain[i] - 1) < 1e-5)) return scaling;
  }
  const list = [...factors];
  const length = metadata.number('context_length');
  return {
    rope_type: 'longrope',
    short_factor: list,
    long_factor: list,
    attention_factor: 1,
    original_max_position_embeddings: length,
  };
}
