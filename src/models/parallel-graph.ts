/** A model over whole sequences: training, perplexity, prefill measurements. */
import { mixParallel, type MixerParameterValues } from '../attention/parallel.ts';
import { mixerParameters } from '../attention/mixer.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { pad, slice } from '../graph/ops/layout.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { PositionValues } from '../nn/positions.ts';
import type { CausalModel, LayerMixing, LayerObserver, ModelDescription } from './model.ts';

/**
 * Tokens int32 [B,n] of static shape → hidden states [B,n,width] after the final norm. Positions are 0…n−1 in every
 * row; shorter sequences are padded at the end, which does not disturb them.
 * @param afterLayer as of `CausalModel.trunk`
 * @throws LinnetError `INPUT` for more positions than the model has
 */
export function parallelHidden(
  model: CausalModel,
  source: ParameterSource,
  tokens: Value,
  afterLayer?: LayerObserver,
): Value {
  const [batch, length] = tokens.shape.map(Number);
  const positions = constantPositions(model, source.graph, batch, length);
  const mixing: LayerMixing = {
    mix: (layer, projected) => mixParallel(model.mixers[layer], projected, mixerParameterValues(model, source, layer)),
    shift: (_, features) => shiftedByOne(features),
  };
  return model.trunk(source, tokens, positions, mixing, afterLayer);
}

/** Features [B,n,X] of the token before, zeros before the first. */
export function shiftedByOne(features: Value): Value {
  return slice(pad(features, 1, 1, 0), 1, 0, Number(features.shape[1]));
}

/** Tokens int32 [B,n] → logits [B,n,V]. */
export function parallelLogits(model: CausalModel, source: ParameterSource, tokens: Value): Value {
  return model.head(source, parallelHidden(model, source, tokens));
}

/** The learned parameters of a layer's mixer, by name. */
export function mixerParameterValues(
  model: ModelDescription,
  source: ParameterSource,
  layer: number,
): MixerParameterValues {
  const prefix = model.attentionPrefix(layer);
  const values: Partial<Record<keyof MixerParameterValues, Value>> = {};
  for (const { name, shape } of mixerParameters(model.mixers[layer], model.sizes)) {
    values[name] = source.parameter(`${prefix}.${name}`, shape);
  }
  return values;
}

/**
 * The positional values of positions 0…n−1 in every row, as constants of the graph.
 * @throws LinnetError `INPUT` for more positions than the model has
 */
export function constantPositions(model: CausalModel, graph: Graph, batch: number, length: number): PositionValues {
  const positions = Int32Array.from({ length: batch * length }, (_, i) => i % length);
  const values = model.positions.at(positions, batch, length);
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, graph.constant(value)]));
}
