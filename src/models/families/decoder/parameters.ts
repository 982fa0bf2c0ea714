/** The decoder's parameters, under the names of Hugging Face checkpoints. Linear weights are [outputs, inputs]. */
import { isExchangeable, mixerDims } from '../../../attention/mixers.ts';
import { mixerPreset } from '../../../attention/presets.ts';
import { type DeclaredParameters, ParameterList } from '../../../nn/parameters.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { DecoderConfig, DecoderNames } from './config.ts';

export function blockPrefix({ variant: { names } }: DecoderConfig, layer: number): string {
  return `${names.root}.layers.${layer}`;
}

/** The token table's name. */
export function embeddingName({ variant: { names } }: DecoderConfig): string {
  return `${names.root}.embed_tokens`;
}

/** The prefix of the projections, query and key norms, and mixer parameters. */
export function attentionPrefix(config: DecoderConfig, layer: number): string {
  const prefix = isExchangeable(config.natives[layer]) ? undefined : config.variant.ownLayer?.prefix;
  return `${blockPrefix(config, layer % config.layers)}.${prefix ?? 'self_attn'}`;
}

/** Module names inside a layer. */
export function namesInLayer({ natives, variant }: DecoderConfig, layer: number): DecoderNames {
  const { names, ownLayer } = variant;
  return isExchangeable(natives[layer]) ? names : (ownLayer?.names ?? names);
}

/** All parameters of a model. */
export function decoderParameters(config: DecoderConfig): DeclaredParameters {
  const { width, feedForwardWidth, vocabulary } = config;
  const list = new ParameterList();
  list.add('embedding', `${embeddingName(config)}.weight`, [vocabulary, width]);
  const addMixer = (index: number): void => {
    const mixer = config.mixers[index];
    const attention = attentionPrefix(config, index);
    if (isExchangeable(mixer)) addProjections(list, attention, config);
    else config.variant.ownLayer?.declare(list, attention, config, mixer);
    list.addAll(attention, declareMixer(mixer, mixerDims(mixer, config)));
  };
  for (let layer = 0; layer < config.layers; layer++) {
    const block = blockPrefix(config, layer);
    const names = namesInLayer(config, layer);
    const addNorm = (name: string | null | undefined): void => {
      if (name) list.add(normRole(config), `${block}.${name}.weight`, [width]);
    };
    addNorm(names.attentionNorm);
    for (let index = layer; index < config.mixers.length; index += config.layers) addMixer(index);
    addNorm(names.attentionOutputNorm);
    addNorm(names.feedForwardNorm);
    list.add('matrix', `${block}.${names.gate}.weight`, [(names.up === null ? 2 : 1) * feedForwardWidth, width]);
    if (names.up !== null) list.add('matrix', `${block}.${names.up}.weight`, [feedForwardWidth, width]);
    list.add('residual output', `${block}.${names.down}.weight`, [width, feedForwardWidth]);
    if (config.variant.feedForwardBias) {
      list.add('bias', `${block}.${names.gate}.bias`, [(names.up === null ? 2 : 1) * feedForwardWidth]);
      if (names.up !== null) list.add('bias', `${block}.${names.up}.bias`, [feedForwardWidth]);
      list.add('bias', `${block}.${names.down}.bias`, [width]);
    }
    addNorm(names.feedForwardOutputNorm);
  }
  list.add(normRole(config), `${config.variant.names.finalNorm}.weight`, [width]);
  if (!config.tiedHead) list.add('head', 'lm_head.weight', [vocabulary, width]);
  return list.all;
}

/** The configuration of the layer of multi-token prediction, under its own names: attention as in the other layers. */
export function mtpConfig(config: DecoderConfig): DecoderConfig {
  const { natives, ropes, variant } = config;
  const attention = natives.findIndex((native) => isExchangeable(native));
  const native = attention < 0 ? mixerPreset('softmax') : natives[attention];
  return {
    ...config,
    layers: 1,
    natives: [native],
    mixers: [native],
    ropes: [ropes[Math.max(0, attention)]],
    variant: { ...variant, names: { ...variant.names, root: 'mtp', finalNorm: 'mtp.norm' } },
  };
}

export const mtpNames = {
  joined: 'mtp.fc',
  embeddingNorm: 'mtp.pre_fc_norm_embedding',
  hiddenNorm: 'mtp.pre_fc_norm_hidden',
} as const;

/** Parameters of the layer of multi-token prediction. @param config from `mtpConfig` */
export function mtpParameters(config: DecoderConfig): DeclaredParameters {
  const { width } = config;
  const list = new ParameterList();
  list.add('matrix', `${mtpNames.joined}.weight`, [width, 2 * width]);
  for (const name of [mtpNames.embeddingNorm, mtpNames.hiddenNorm]) {
    list.add(normRole(config), `${name}.weight`, [width]);
  }
  const shared = [`${embeddingName(config)}.weight`, 'lm_head.weight'];
  return new Map([...list.all, ...[...decoderParameters(config)].filter(([name]) => !shared.includes(name))]);
}

function normRole({ variant }: DecoderConfig): 'norm' | 'centred norm' {
  return variant.zeroCentredNorms ? 'centred norm' : 'norm';
}

/** Declares an attention's projections. */
function addProjections(list: ParameterList, attention: string, config: DecoderConfig): void {
  const { width, heads, keyValueHeads, headWidth } = config;
  const { names, queryKeyNorm, joinedQueryKeyNorm, queryKeyValueBias, outputBias, outputGate } = config.variant;
  const queries = (outputGate ? 2 : 1) * heads * headWidth;
  list.add('query-key matrix', `${attention}.q_proj.weight`, [queries, width]);
  list.add('query-key matrix', `${attention}.k_proj.weight`, [keyValueHeads * headWidth, width]);
  list.add('matrix', `${attention}.v_proj.weight`, [keyValueHeads * headWidth, width]);
  list.add('residual output', `${attention}.${names.output}.weight`, [width, heads * headWidth]);
  if (queryKeyValueBias) {
    list.add('query-key bias', `${attention}.q_proj.bias`, [queries]);
    list.add('query-key bias', `${attention}.k_proj.bias`, [keyValueHeads * headWidth]);
    list.add('bias', `${attention}.v_proj.bias`, [keyValueHeads * headWidth]);
  }
  if (outputBias) list.add('bias', `${attention}.${names.output}.bias`, [width]);
  if (!queryKeyNorm && !joinedQueryKeyNorm) return;
  const counts = joinedQueryKeyNorm ? [heads, keyValueHeads] : [1, 1];
  [names.queryNorm, names.keyNorm].forEach((name, i) => {
    list.add(`query-key ${normRole(config)}`, `${attention}.${name}.weight`, [counts[i] * headWidth]);
  });
}

/** Names of a model saved without its head, such as Qwen3 Embedding. */
const bare = /^(embed_tokens|layers|norm)\./;

/** The parameter in a stored tensor; undefined for frequency tables, and for a stored tied head, a copy of the embedding. */
export function decoderParameterName({ tiedHead }: DecoderConfig, stored: string): string | undefined {
  if (stored.endsWith('.rotary_emb.inv_freq') || (tiedHead && stored === 'lm_head.weight')) return undefined;
  return bare.test(stored) ? `model.${stored}` : stored;
}
