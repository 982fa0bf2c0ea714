/** Parameters of the decoder, under the names of Hugging Face checkpoints. Linear weights are [outputs, inputs]. */
import { type DeclaredParameters, ParameterList } from '../../../nn/parameter-roles.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { DecoderConfig } from './config.ts';

export function blockPrefix(layer: number): string {
  return `model.layers.${layer}`;
}

/** The prefix of the projections, of the norms of queries and keys, and of the mixer's parameters. */
export function attentionPrefix(layer: number): string {
  return `${blockPrefix(layer)}.self_attn`;
}

/** All parameters of a model. */
export function decoderParameters(config: DecoderConfig): DeclaredParameters {
  const { width, feedForwardWidth, heads, keyValueHeads, headWidth, vocabulary } = config;
  const { queryKeyValueBias = false, queryKeyNorm = false } = config.variant;
  const list = new ParameterList();
  list.add('embedding', 'model.embed_tokens.weight', [vocabulary, width]);
  config.mixers.forEach((mixer, layer) => {
    const block = blockPrefix(layer);
    const attention = attentionPrefix(layer);
    list.add('norm', `${block}.input_layernorm.weight`, [width]);
    list.add('query-key matrix', `${attention}.q_proj.weight`, [heads * headWidth, width]);
    list.add('query-key matrix', `${attention}.k_proj.weight`, [keyValueHeads * headWidth, width]);
    list.add('matrix', `${attention}.v_proj.weight`, [keyValueHeads * headWidth, width]);
    list.add('residual output', `${attention}.o_proj.weight`, [width, heads * headWidth]);
    if (queryKeyValueBias) {
      list.add('query-key bias', `${attention}.q_proj.bias`, [heads * headWidth]);
      list.add('query-key bias', `${attention}.k_proj.bias`, [keyValueHeads * headWidth]);
      list.add('bias', `${attention}.v_proj.bias`, [keyValueHeads * headWidth]);
    }
    if (queryKeyNorm) {
      for (const name of ['q_norm', 'k_norm']) list.add('query-key norm', `${attention}.${name}.weight`, [headWidth]);
    }
    list.addAll(attention, declareMixer(mixer, { heads, keyValueHeads, headWidth }));
    list.add('norm', `${block}.post_attention_layernorm.weight`, [width]);
    list.add('matrix', `${block}.mlp.gate_proj.weight`, [feedForwardWidth, width]);
    list.add('matrix', `${block}.mlp.up_proj.weight`, [feedForwardWidth, width]);
    list.add('residual output', `${block}.mlp.down_proj.weight`, [width, feedForwardWidth]);
  });
  list.add('norm', 'model.norm.weight', [width]);
  if (!config.tiedHead) list.add('head', 'lm_head.weight', [vocabulary, width]);
  return list.all;
}

/**
 * The parameter that a stored tensor is; undefined for frequency tables, and for a tied head that is stored all the same:
 * it is a copy of the embedding.
 */
export function decoderParameterName({ tiedHead }: DecoderConfig, stored: string): string | undefined {
  if (stored.endsWith('.rotary_emb.inv_freq') || (tiedHead && stored === 'lm_head.weight')) return undefined;
  return stored;
}
