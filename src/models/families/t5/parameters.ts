/**
 * T5's parameters, under the names of `T5ForConditionalGeneration` checkpoints. Fresh ones (Raffel et al., arXiv
 * 1910.10683) have deviations that preserve the size of products; queries are smaller by √D, since T5 does not divide
 * scores; an untied head's logits are as small as a tied one's.
 */
import type { MixerConfig } from '../../../attention/mixer.ts';
import { type DeclaredParameters, ParameterList } from '../../../nn/parameters.ts';
import { type AttentionPart, attentionParts } from '../../config-fields.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { T5Config } from './config.ts';

/** The two stacks of blocks. */
export type Stack = 'encoder' | 'decoder';

/** Names a block's layers: self-attention first, the feed-forward last. */
export function selfAttentionLayer(stack: Stack, block: number): string {
  return `${stack}.block.${block}.layer.0`;
}

export function crossAttentionLayer(block: number): string {
  return `decoder.block.${block}.layer.1`;
}

export function feedForwardLayer(stack: Stack, block: number): string {
  return `${stack}.block.${block}.layer.${stack === 'encoder' ? 1 : 2}`;
}

/** Prefixes of attention parameters: "decoder.block.0.layer.1.EncDecAttention". */
export const attentionNames: Readonly<Record<AttentionPart, (block: number) => string>> = {
  encoder: (block) => `${selfAttentionLayer('encoder', block)}.SelfAttention`,
  decoder: (block) => `${selfAttentionLayer('decoder', block)}.SelfAttention`,
  cross: (block) => `${crossAttentionLayer(block)}.EncDecAttention`,
};

/** The table of relative biases that all of a stack's blocks share. */
export function biasTableName(stack: Stack): string {
  return `${attentionNames[stack](0)}.relative_attention_bias`;
}

/** All attentions of a model in the order of its mixers: the encoder's, the decoder's, those between them. */
export function attentionsOf({ mixers }: T5Config): { part: AttentionPart; layer: number; mixer: MixerConfig }[] {
  return attentionParts.flatMap((part) => mixers[part].map((mixer, layer) => ({ part, layer, mixer })));
}

/** All parameters. Linear weights are [outputs, inputs]. */
export function t5Parameters(config: T5Config): DeclaredParameters {
  const { width, heads, headWidth, feedForwardWidth, vocabulary, buckets } = config;
  const list = new ParameterList();
  const inner = heads * headWidth;
  const ofInputs = (inputs: number) => ({ normal: inputs ** -0.5 });
  const attention = (part: AttentionPart, block: number): void => {
    const name = attentionNames[part](block);
    list.add('query-key matrix', `${name}.q.weight`, [inner, width], ofInputs(width * headWidth));
    list.add('query-key matrix', `${name}.k.weight`, [inner, width], ofInputs(width));
    list.add('matrix', `${name}.v.weight`, [inner, width], ofInputs(width));
    list.add('residual output', `${name}.o.weight`, [width, inner], ofInputs(inner));
    if (part !== 'cross' && block === 0) {
      list.add('position bias', `${biasTableName(part)}.weight`, [buckets, heads], ofInputs(width));
    }
    list.addAll(name, declareMixer(config.mixers[part][block], config));
  };
  const feedForward = (stack: Stack, block: number): void => {
    const name = `${feedForwardLayer(stack, block)}.DenseReluDense`;
    const inputs = config.feedForward.gated ? ['wi_0', 'wi_1'] : ['wi'];
    for (const projection of inputs) {
      list.add('matrix', `${name}.${projection}.weight`, [feedForwardWidth, width], ofInputs(width));
    }
    list.add('residual output', `${name}.wo.weight`, [width, feedForwardWidth], ofInputs(feedForwardWidth));
    list.add('norm', `${feedForwardLayer(stack, block)}.layer_norm.weight`, [width]);
  };
  list.add('embedding', 'shared.weight', [vocabulary, width], { normal: 1 });
  for (const stack of ['encoder', 'decoder'] as const) {
    for (let block = 0; block < config.mixers[stack].length; block++) {
      attention(stack, block);
      list.add('norm', `${selfAttentionLayer(stack, block)}.layer_norm.weight`, [width]);
      if (stack === 'decoder') {
        attention('cross', block);
        list.add('norm', `${crossAttentionLayer(block)}.layer_norm.weight`, [width]);
      }
      feedForward(stack, block);
    }
    list.add('norm', `${stack}.final_layer_norm.weight`, [width]);
  }
  if (!config.tiedHead) list.add('head', 'lm_head.weight', [vocabulary, width], ofInputs(width));
  return list.all;
}

/** Copies of the embedding, and a table that early checkpoints held for cross attention and never used. */
const derived = new Set([
  'encoder.embed_tokens.weight',
  'decoder.embed_tokens.weight',
  'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight',
]);

/**
 * The parameter in a stored tensor; undefined for copies of the embedding, and for the filter that the paper's code creates
 * in cross attention and never uses. That code calls α `alpha`. Names other than T5's are returned unchanged.
 */
export function t5ParameterName(stored: string, tiedHead: boolean): string | undefined {
  if (derived.has(stored) || (tiedHead && stored === 'lm_head.weight')) return undefined;
  if (stored.endsWith('.EncDecAttention.dwconv.weight')) return undefined;
  return stored.replace(/\.(SelfAttention|EncDecAttention)\.alpha$/, '.$1.global_factor');
}
