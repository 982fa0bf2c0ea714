/** GPT-2 (Radford et al., 2019): learned positions, pre-norm LayerNorm blocks with biases, tanh-GELU, a tied head. */
import type { Value } from '../../../graph/graph.ts';
import { add } from '../../../graph/ops/elementwise.ts';
import { reshape, split } from '../../../graph/ops/layout.ts';
import { affine, embedding, inHeads, linear, namedLayerNorm } from '../../../nn/linear.ts';
import {
  type DeclaredParameters,
  ParameterList,
  type ParameterRole,
  type ParameterSource,
  scoped,
} from '../../../nn/parameters.ts';
import { learnedPositions, type PositionValues } from '../../../nn/positions.ts';
import { withSection } from '../../config-fields.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { CausalModel, LayerMixing } from '../../model.ts';
import { activations } from '../activations.ts';
import { causalModel, sizesOf } from '../family.ts';
import { type Gpt2Config, gpt2ParameterName, parseGpt2Config } from './config.ts';
import type { JsonObject } from '../../../files/json-object.ts';

/** The model of a config.json. @throws LinnetError `CONFIG` as `parseGpt2Config` does */
export function gpt2Model(json: JsonObject): CausalModel {
  const config = parseGpt2Config(json);
  return causalModel({
    family: 'gpt2',
    className: 'GPT2',
    sizes: sizesOf(config),
    mixers: config.mixers,
    positions: learnedPositions(config.trainedLength),
    parameters: gpt2Parameters(config),
    bosId: config.bosId,
    eosIds: config.eosIds,
    unknownFields: config.unknownFields,
    toJson: () => withSection(config.raw, config.mixers),
    withMixers: (mixers) => gpt2Model({ ...config.raw, linnet: { version: 1, mixers } }),
    embed: (source, tokens, positions) => embed(config, source, tokens, positions),
    layer: (source, layer, hidden, _positions, mixing) => block(config, source, layer, hidden, mixing),
    finalNorm: (source, hidden) => namedLayerNorm(source, 'transformer.ln_f', hidden, config.normEpsilon),
    head: (source, hidden) => head(config, source, hidden),
    attentionPrefix,
    parameterName: (stored) => gpt2ParameterName(stored, config.tiedHead),
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
  const projection = (
    [weight, bias]: readonly [ParameterRole, ParameterRole],
    name: string,
    inputs: number,
    outputs: number,
  ): void => {
    list.add(weight, `${name}.weight`, [inputs, outputs]);
    list.add(bias, `${name}.bias`, [outputs]);
  };
  list.add('embedding', 'transformer.wte.weight', [vocabulary, width]);
  list.add('embedding', 'transformer.wpe.weight', [trainedLength, width]);
  config.mixers.forEach((mixer, layer) => {
    const block = blockPrefix(layer);
    const attention = attentionPrefix(layer);
    list.layerNorm(`${block}.ln_1`, width);
    projection(['query-key matrix', 'query-key bias'], `${attention}.c_attn`, width, 3 * width);
    projection(['residual output', 'bias'], `${attention}.c_proj`, width, width);
    list.addAll(attention, declareMixer(mixer, config));
    list.layerNorm(`${block}.ln_2`, width);
    projection(['matrix', 'bias'], `${block}.mlp.c_fc`, width, feedForwardWidth);
    projection(['residual output', 'bias'], `${block}.mlp.c_proj`, feedForwardWidth, width);
  });
  list.layerNorm('transformer.ln_f', width);
  if (!config.tiedHead) list.add('head', 'lm_head.weight', [vocabulary, width]);
  return list.all;
}

function embed(
  { vocabulary, width, trainedLength: count }: Gpt2Config,
  source: ParameterSource,
  tokens: Value,
  { positions }: PositionValues,
): Value {
  return add(
    embedding(source, 'transformer.wte', tokens, vocabulary, width),
    embedding(source, 'transformer.wpe', positions, count, width),
  );
}

function block(
  config: Gpt2Config,
  source: ParameterSource,
  layer: number,
  x: Value,
  { mix }: Pick<LayerMixing, 'mix'>,
): Value {
  const prefix = blockPrefix(layer);
  const attentionSource = scoped(source, attentionPrefix(layer));
  const normed = namedLayerNorm(source, `${prefix}.ln_1`, x, config.normEpsilon);
  const attended = add(
    x,
    attention(config, attentionSource, normed, (projected) => mix(layer, projected)),
  );
  return add(
    attended,
    feedForward(
      config,
      scoped(source, `${prefix}.mlp`),
      namedLayerNorm(source, `${prefix}.ln_2`, attended, config.normEpsilon),
    ),
  );
}

function attention(
  { width, heads }: Gpt2Config,
  source: ParameterSource,
  x: Value,
  mix: (projected: { q: Value; k: Value; v: Value }) => Value,
): Value {
  const [B, T] = x.shape;
  const projected = affine(source, 'c_attn', x, 3 * width); // [B,T,3*width]
  const [q, k, v] = split(projected, 2, [width, width, width]).map((part) => inHeads(part, heads)); // [B,T,H,D]
  return affine(source, 'c_proj', reshape(mix({ q, k, v }), [B, T, width]), width);
}

function feedForward({ width, feedForwardWidth, activation }: Gpt2Config, source: ParameterSource, x: Value): Value {
  const inner = activations[activation](affine(source, 'c_fc', x, feedForwardWidth));
  return affine(source, 'c_proj', inner, width);
}

function head({ tiedHead, vocabulary }: Gpt2Config, source: ParameterSource, hidden: Value): Value {
  return linear(source, tiedHead ? 'transformer.wte' : 'lm_head', hidden, vocabulary);
}
