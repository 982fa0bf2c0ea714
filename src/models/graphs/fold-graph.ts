/** Graphs that fold closing groups into the state: one per way of folding, run by `commit`. */
import { internalError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { mixerDims } from '../../attention/mixers.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import type { AutoregressiveModel } from '../model.ts';
import { type ModelLayout, modelLayout } from './model-layout.ts';
import { mixerParameterValues, scoringOf } from './parallel-graph.ts';

/**
 * S ← S + the terms of n rows of closed groups: `sums` [X,…], `keys` [X,n,D] and `values` [X,n,E] → `folded` like `sums`. X
 * runs over layers and heads, [X,M,…] in a fold `byLayer`; over one layer's heads in a fold with learned parameters.
 *
 * If closed groups leave rows: the rows of N groups, `keys` [M,N,G,D] and `values` [M,N,G,E] → `folded` [M,N,r,D+E], keys
 * and values side by side.
 *
 * Decaying mixers also take `ages` [n] and `groups` [1], see `FoldInput`.
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
    repeat: mixerDims(mixer, model.sizes).heads / M,
    ages:
      fold.readsAges?.(mixer) === true
        ? { rows: graph.input('ages', 'float32', ['n']), groups: graph.input('groups', 'float32', [1]) }
        : undefined,
  };
  graph.output('folded', fold.fold(mixer, input));
  return graph;
}
