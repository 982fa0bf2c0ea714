/** Graphs beside the step graph: the encoder for the memories of cross attention, one per length, and folds. */
import { crossForm } from '../../attention/mixers.ts';
import { Graph, type ValueType } from '../../graph/graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import type { AutoregressiveModel, EncoderDecoderModel } from '../model.ts';
import { mixerParameterValues, scoringOf } from './parallel-graph.ts';
import { crossShapes } from './step-graph.ts';
import { internalError } from '../../errors.ts';
import { type ModelLayout, modelLayout } from './model-layout.ts';

/** A value that a graph has by name, or may have. */
type NamedValue = ValueType & { readonly name: string; readonly optional?: boolean };

/** Inputs and outputs of `encoderGraph` for a length; the mask only where a mixer reads it. */
export function encoderSignature(
  { decoder }: EncoderDecoderModel,
  length: number,
): { readonly inputs: readonly NamedValue[]; readonly outputs: readonly NamedValue[] } {
  const { cross } = decoder;
  const outputs = (cross?.mixers ?? []).flatMap((_, layer) =>
    Object.entries(cross === undefined ? {} : crossShapes(cross, decoder, layer)).map(([name, shape]): NamedValue => {
      const sizes = shape.map((dim) => (dim === 'm' ? length : dim));
      return { name: `cross.${layer}.${name}`, dtype: 'float32', shape: [1, ...sizes] };
    }),
  );
  const inputs: NamedValue[] = [
    { name: 'tokens', dtype: 'int32', shape: [1, length] },
    { name: 'mask', dtype: 'float32', shape: [1, length], optional: true },
  ];
  return { inputs, outputs };
}

/**
 * The encoder over one text with the memory of every layer of the decoder: `tokens` int32 [1,n] and `mask` float32 [1,n], 0
 * for padding → `cross.i.NAME`, see `CrossForm`.
 *
 * @param length n
 * @throws LinnetError `CONFIG` for a mixer between the texts that has no memory of one
 */
export function encoderGraph(
  model: EncoderDecoderModel,
  length: number,
  makeSource: (graph: Graph) => ParameterSource,
): Graph {
  const { decoder } = model;
  const graph = new Graph(`${model.family} encoder of ${length}`);
  const source = makeSource(graph);
  const mask = graph.input('mask', 'float32', [1, length]);
  const encoded = model.encode(source, { tokens: graph.input('tokens', 'int32', [1, length]), mask });
  const { cross } = decoder;
  cross?.mixers.forEach((mixer, layer) => {
    const parameters = mixerParameterValues({ ...cross, sizes: decoder.sizes }, source, layer);
    const text = { ...cross.project(source, layer, encoded), mask };
    const memory = crossForm(mixer).memory(mixer, text, parameters, scoringOf(decoder));
    for (const name of Object.keys(crossShapes(cross, decoder, layer))) {
      graph.output(`cross.${layer}.${name}`, memory[name]);
    }
  });
  return graph;
}

// Graphs that fold groups into the state when they close: one per way of folding, run by `commit`.

/**
 * S ← S + the terms of n rows of closed groups: `sums` [X,…], `keys` [X,n,D] and `values` [X,n,E] → `folded` like
 * `sums`, where X runs over layers and heads, [X,M,…] in a fold `byLayer`; over the heads of the one layer for a fold with learned parameters.
 *
 * Of mixers whose closed groups leave rows: the rows of N groups, `keys` [M,N,G,D] and `values` [M,N,G,E] → `folded`
 * [M,N,r,D+E], keys and values next to each other.
 *
 * Of mixers that decay, also `ages` [n] and `groups` [1], see `FoldInput`.
 *
 * @param layer one of the layers that share the graph
 */
export function foldGraph(
  model: AutoregressiveModel,
  layer: number,
  makeSource: (graph: Graph) => ParameterSource,
  layout: ModelLayout = modelLayout(model),
): Graph {
  const { mixer, form, heads: M, keys, values, sums, slots } = layout.layers[layer];
  const { fold } = form;
  if (fold === undefined) throw internalError(`layer ${layer} has nothing to fold`);
  const graph = new Graph(`${model.family} fold`);
  const learned = fold.shareAs(mixer) === null;
  const heads = fold.byLayer === true ? ['X', M] : [learned ? M : 'X'];
  const outer = sums === undefined ? [M, 'N', slots.horizon.group] : [...heads, 'n'];
  const read = { keys: keys.width, values: values.width, ...fold.reads?.(mixer) };
  const state = sums && graph.input('sums', 'float32', [...heads, ...sums]);
  const input = {
    keys: graph.input('keys', 'float32', [...outer, read.keys]),
    values: graph.input('values', 'float32', [...outer, read.values]),
    get sums() {
      if (state === undefined) throw internalError(`layer ${layer} has no sums`);
      return state;
    },
    parameters: learned ? mixerParameterValues(model, makeSource(graph), layer) : {},
    scoring: scoringOf(model),
    ages:
      fold.readsAges?.(mixer) === true
        ? { rows: graph.input('ages', 'float32', ['n']), groups: graph.input('groups', 'float32', [1]) }
        : undefined,
  };
  graph.output('folded', fold.fold(mixer, input));
  return graph;
}
