/**
 * A model over token trees on top of a state: decoding, prefill and verification are this one graph.
 *
 * | input | type | content |
 * |---|---|---|
 * | `tokens` | int32 [B,T] | token of every node; row b is the tree of sequence b, padded |
 * | `cos` and `sin`, or `positions` | [B,T,...] | what the model's `positions` make of the nodes' positions |
 * | `wanted` | int32 [W] | nodes whose logits are wanted, as b·T + t |
 * | `same.ℓ.ring` … `lags.ℓ.tree` | see `StepMasks` | masks, once per distinct layout ℓ |
 * | `keys.i`, `values.i` | float32 [B,M,C,D] | the ring (softmax: the cache) of layer i |
 * | `sums.i` | float32 [B,M,D,D] | S of layer i, where it has a global branch |
 *
 * Outputs: `logits` [W,V], `hidden` [W,width] and `rows` [2·L,B,M,T,D], the new keys and values of every node: keys of
 * layer i at 2i, values at 2i + 1. The state itself is only read, never returned: on CPU every output is copied.
 * Inputs that a model does not need (S without a global branch, lags without a convolution) do not exist in its graph.
 */
import { mixStep, type StepMasks } from '../attention/step.ts';
import { horizonOf } from '../attention/masks.ts';
import type { MixerConfig } from '../attention/mixer.ts';
import { mixerStateShape } from '../attention/state.ts';
import { LinnetError } from '../errors.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { concat, reshape } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { multiplyDims } from '../graph/shape.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import { declarePositions } from '../nn/positions.ts';
import type { CausalModel } from './model.ts';
import { mixerParameterValues } from './parallel-graph.ts';

/** Layers with equal layouts share their masks. */
export interface StateLayout {
  /** The ℓ in the names of the mask inputs. */
  readonly name: string;
  /** G; Infinity for softmax, where every committed position is in the one group. */
  readonly group: number;
  /** C: ring slots; undefined for softmax, whose cache grows. */
  readonly ring?: number;
}

/** What decides the layout of a state is the mixer alone: sizes that do not matter for it. */
const anySizes = { heads: 1, keyValueHeads: 1, headDim: 1 };

/**
 * The layout of a layer's state. Its name tells apart what masks depend on: group, reach (none without a convolution)
 * and ring.
 * @throws LinnetError `CONFIG` for a mixer that reads the future
 */
export function stateLayout(mixer: MixerConfig): StateLayout {
  const shape = mixerStateShape(mixer, anySizes);
  const { group, reach } = horizonOf(mixer);
  if (shape.kind === 'growing') return { name: 'cache', group };
  return { name: `g${group}${reach < 0 ? '' : `p${reach}`}c${shape.ring}`, group, ring: shape.ring };
}

/** The distinct layouts of a model's layers, in order of first use. */
export function stateLayouts(mixers: readonly MixerConfig[]): StateLayout[] {
  return [...new Map(mixers.map((mixer) => [stateLayout(mixer).name, stateLayout(mixer)])).values()];
}

/** Builds the step graph of a model. The shapes of its inputs and outputs are in the table above. */
export function stepGraph(model: CausalModel, makeSource: (graph: Graph) => ParameterSource): Graph {
  const graph = new Graph(`${model.family} step`);
  const source = makeSource(graph);
  const { keyValueHeads: M, headWidth: D, layers, width } = model.sizes;
  const tokens = graph.input('tokens', 'int32', ['B', 'T']);
  const positions = declarePositions(model.positions, graph);
  const wanted = graph.input('wanted', 'int32', ['W']);
  const masks = new Map(stateLayouts(model.mixers).map((layout) => [layout.name, declareMasks(graph, layout)]));
  const rows: Value[] = new Array<Value>(2 * layers);

  const hidden = model.trunk(source, tokens, positions, (layer, projected) => {
    const mixer = model.mixers[layer];
    const layout = stateLayout(mixer);
    const layoutMasks = masks.get(layout.name);
    if (layoutMasks === undefined) throw new LinnetError('INTERNAL', `internal: no masks for layout ${layout.name}`);
    const slots = layout.ring ?? 'C';
    const hasSums = mixer.kind === 'linear' && mixer.global !== null;
    const state = {
      keys: graph.input(`keys.${layer}`, 'float32', ['B', M, slots, D]),
      values: graph.input(`values.${layer}`, 'float32', ['B', M, slots, D]),
      sums: hasSums ? graph.input(`sums.${layer}`, 'float32', ['B', M, D, D]) : undefined,
    };
    const parameters = mixerParameterValues(model, source, layer);
    const result = mixStep(mixer, projected, state, layoutMasks.ring, layoutMasks.tree, parameters);
    rows[2 * layer] = reshape(result.keys, [1, 'B', M, 'T', D]);
    rows[2 * layer + 1] = reshape(result.values, [1, 'B', M, 'T', D]);
    return result.mixed;
  });
  const picked = gather(reshape(hidden, [multiplyDims('B', 'T'), width]), wanted); // [W,width]
  graph.output('logits', model.head(source, picked));
  graph.output('hidden', picked);
  graph.output('rows', concat(rows, 0)); // [2*L,B,M,T,D]
  return graph;
}

function declareMasks(graph: Graph, layout: StateLayout): { ring: StepMasks; tree: StepMasks } {
  const declare = (block: string, rows: number | string): StepMasks => ({
    same: graph.input(`same.${layout.name}.${block}`, 'float32', ['B', 1, 'T', rows]),
    earlier: graph.input(`earlier.${layout.name}.${block}`, 'float32', ['B', 1, 'T', rows]),
    lags: graph.input(`lags.${layout.name}.${block}`, 'int32', ['B', 'T', rows]),
  });
  return { ring: declare('ring', layout.ring ?? 'C'), tree: declare('tree', 'T') };
}

/**
 * S ← S + Σ k̂ᵀv over the n rows of groups that have closed: `sums` [X,D,D], `keys` and `values` [X,n,D] → `folded`
 * [X,D,D], where X runs over layers and heads.
 *
 * @param rawKeys whether the rows hold keys as projected (softmax local kernel) instead of unit-length ones
 */
export function foldGraph(model: CausalModel, rawKeys: boolean): Graph {
  const D = model.sizes.headWidth;
  const graph = new Graph(`${model.family} fold`);
  const keys = graph.input('keys', 'float32', ['X', 'n', D]);
  const values = graph.input('values', 'float32', ['X', 'n', D]);
  const sums = graph.input('sums', 'float32', ['X', D, D]);
  graph.output('folded', add(sums, matmul(rawKeys ? unitLength(keys) : keys, values, { transposeA: true })));
  return graph;
}
