/** GPT-2 (Radford et al., 2019): learned positions, pre-norm LayerNorm blocks with biases, tanh-GELU, a tied head. */
import type { Value } from '../../../graph/graph.ts';
import { add } from '../../../graph/ops/elementwise.ts';
import { reshape, split } from '../../../graph/ops/layout.ts';
import { affine, embedding, inHeads, linear, namedLayerNorm } from '../../../nn/linear.ts';
import { type DeclaredParameters, ParameterList, type ParameterSource, scoped } from '../../../nn/parameters.ts';
import { learnedPositions } from '../../../nn/positions.ts';
import { withSection } from '../../config-fields.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { CausalModel, LayerMixing } from '../../model.ts';
import { activations } from '../activations.ts';
import { causalModel, sizesOf } from '../family.ts';
import { type Gpt2Config, gpt2ParameterName, parseGpt2Config } from './config.ts';
import type { JsonObject } from '../../../files/json-object.ts';

/** The model of a config.json. @throws LinnetError `CONFIG` like `parseGpt2Config` */
export function gpt2Model(json: JsonObject): CausalModel {
  const config = parseGpt2Config(json);
  const { width, vocabulary, trainedLength, tiedHead } = config;
  return causalModel({
    family: 'gpt2',
    className: 'GPT2',
    sizes: sizesOf(config),
    mixers: config.mixers,
    positions: learnedPositions(trainedLength),
    parameters: gpt2Parameters(config),
    bosId: config.bosId,
    eosIds: config.eosIds,
    unknownFields: config.unknownFields,
    toJson: () => withSection(config.raw, config.mixers),
    withMixers: (mixers) => gpt2Model({ ...config.raw, linnet: { version: 1, mixers } }),
    embed: (source, tokens, { positions }) =>
      add(
        embedding(source, 'transformer.wte', tokens, vocabulary, width),
        embedding(source, 'transformer.wpe', positions, trainedLength, width),
      ),
    layer: (source, layer, hidden, _positions, mixing) => block(config, source, layer, hidden, mixing),
    finalNorm: (source, hidden) => namedLayerNorm(source, 'transformer.ln_f', hidden, config.normEpsilon),
    head: (source, hidden) => linear(source, tiedHead ? 'transformer.wte' : 'lm_head', hidden, vocabulary),
    attentionPrefix,
    parameterName: (stored) => gpt2ParameterName(stored, tiedHead),
  });
}

function blockPrefix(layer: number): string {
  return `transformer.h.${layer}`;
}

function attentionPrefix(layer: number): string {
  return `${blockPrefix(layer)}.attn`;
}

/** All parameters. Projections are [inputs, outputs], unlike in the other families. */
function gpt2Parameters(config: Gpt2Config): DeclaredParameters {
  const { width, feedForwardWidth, vocabulary, trainedLength } = config;
  const list = new ParameterList();
  const inputsFirst = { layout: 'inputs-first' } as const;
  list.add('embedding', 'transformer.wte.weight', [vocabulary, width]);
  list.add('embedding', 'transformer.wpe.weight', [trainedLength, width]);
  config.mixers.forEach((mixer, layer) => {
    const block = blockPrefix(layer);
    const attention = attentionPrefix(layer);
    list.layerNorm(`${block}.ln_1`, width);
    list.linear('query-key matrix', `${attention}.c_attn`, width, 3 * width, inputsFirst);
    list.linear('residual output', `${attention}.c_proj`, width, width, inputsFirst);
    list.addAll(attention, declareMixer(mixer, config));
    list.layerNorm(`${block}.ln_2`, width);
    list.linear('matrix', `${block}.mlp.c_fc`, width, feedForwardWidth, inputsFirst);
    list.linear('residual output', `${block}.mlp.c_proj`, feedForwardWidth, width, inputsFirst);
  });
  list.layerNorm('transformer.ln_f', width);
  if (!config.tiedHead) list.add('head', 'lm_head.weight', [vocabulary, width]);
  return list.all;
}

function block(
  config: Gpt2Config,
  source: ParameterSource,
  layer: number,
  x: Value,
  { mix }: Pick<LayerMixing, 'mix'>,
): Value {
  const { width, heads, feedForwardWidth, activation, normEpsilon } = config;
  const prefix = blockPrefix(layer);
  const attention = scoped(source, attentionPrefix(layer));
  const projected = affine(attention, 'c_attn', namedLayerNorm(source, `${prefix}.ln_1`, x, normEpsilon), 3 * width); // [B,T,3*width]
  const [q, k, v] = split(projected, 2, [width, width, width]).map((part) => inHeads(part, heads)); // [B,T,H,D]
  const attended = add(x, affine(attention, 'c_proj', reshape(mix(layer, { q, k, v }), x.shape), width));
  const mlp = scoped(source, `${prefix}.mlp`);
  const normed = namedLayerNorm(source, `${prefix}.ln_2`, attended, normEpsilon);
  const inner = activations[activation](affine(mlp, 'c_fc', normed, feedForwardWidth));
  return add(attended, affine(mlp, 'c_proj', inner, width));
}
