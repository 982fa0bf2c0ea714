/**
 * A model over token trees on top of a state: decoding, prefill and verification are this one graph.
 *
 * | input | type | content |
 * |---|---|---|
 * | `tokens` | int32 [B,T] | token of every node; row b is the tree of sequence b, padded |
 * | `cos` and `sin`, or `positions` | [B,T,...] | what the model's `positions` make of the nodes' positions |
 * | `wanted` | int32 [W] | nodes whose logits are wanted, as b·T + t |
 * | `same.ℓ.ring` … `lags.ℓ.tree` | see `StepMasks` | masks, once per distinct layout ℓ |
 * | `keys.i`, `values.i` | float32 [B,M,C,D], [B,M,C,E] | the ring (softmax: the cache) of layer i |
 * | `sums.i` | float32 [B,M,X,Y] | S of layer i, where its mixer has sums; [B,M,D,E] for a global branch |
 * | `parents` | int32 [B,T] | b·T + the parent of every node; a root names itself |
 * | `roots` | float32 [B,T,1] | 1 for nodes without a parent, which follow the committed text |
 * | `previous.i` | float32 [B,1,X] | features that layer i is given from the last committed token; zeros at the start |
 *
 * | `memory.keys.i`, `memory.values.i` | float32 [B,M,S,D], [B,M,S,E] | rows of closed blocks of layer i, where it has such |
 * | `held.ℓ`, `closed.ℓ`, `offsets.ℓ.ring` … `member.ℓ.tree` | see `ProjectedMemory` | once per layout with blocks |
 *
 * Outputs: `logits` [W,V], `hidden` [W,width], `rows` [B,M,T,R], the new keys and values of every node, layer after layer
 * (see `rowLayout`), and `shifts` [B,T,L·X], the features that the tokens after it are given. The state itself is only
 * read, never returned: on CPU every output is copied.
 * Inputs that a model does not need (S without a global branch, lags without a convolution) do not exist in its graph;
 * `parents`, `roots`, `previous.i` and `shifts` only in models that shift features.
 */
import { isLearnedMap } from '../attention/features/feature-config.ts';
import { foldFeatures } from '../attention/features/feature-step.ts';
import { foldUnit } from '../attention/gau/gau-step.ts';
import { projectBlocks } from '../attention/linformer/block-linformer-step.ts';
import { keepsRawKeys, mixStep, type StepMasks } from '../attention/step.ts';
import type { PlacesInBlocks, ProjectedMemory } from '../attention/step-blocks.ts';
import { horizonOf } from '../attention/masks.ts';
import { type BlockLinformerMixer, type MixerConfig, rowWidth } from '../attention/mixer.ts';
import { mixerStateShape, type MixerStateShape } from '../attention/state.ts';
import { LinnetError } from '../errors.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { add, mul, sub } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { concat, reshape } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { multiplyDims } from '../graph/shape.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import { declarePositions } from '../nn/positions.ts';
import { type CausalModel, type ModelSizes, valueWidth } from './model.ts';
import { mixerParameterValues } from './parallel-graph.ts';

/** Layers with equal layouts share their masks. */
export interface StateLayout {
  /** The ℓ in the names of the mask inputs. */
  readonly name: string;
  /** G; Infinity where the cache grows, and every committed position is in the one group. */
  readonly group: number;
  /** C: ring slots; undefined for softmax and YOSO's expectation, whose cache grows. */
  readonly ring?: number;
  /** Rows that a closed group is projected to; undefined where groups are summed or forgotten. */
  readonly projected?: number;
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
  if (shape.kind === 'growing') return { name: `cache${reach < 0 ? '' : `p${reach}`}`, group };
  if (shape.kind === 'blocks') {
    const [, projected] = shape.projected.keys;
    const name = `g${group}${reach < 0 ? '' : `p${reach}`}c${shape.ring}r${projected}`;
    return { name, group, ring: shape.ring, projected };
  }
  return { name: `g${group}${reach < 0 ? '' : `p${reach}`}c${shape.ring}`, group, ring: shape.ring };
}

/** The distinct layouts of a model's layers, in order of first use. */
export function stateLayouts(mixers: readonly MixerConfig[]): StateLayout[] {
  return [...new Map(mixers.map((mixer) => [stateLayout(mixer).name, stateLayout(mixer)])).values()];
}

/** Rows and columns of a layer's S per key-value head; null for a mixer without sums. */
export function layerSumsShape({ sizes }: CausalModel, mixer: MixerConfig): [number, number] | null {
  const shape = layerStateShape(sizes, mixer);
  if (shape.kind !== 'constant' || shape.sums === null) return null;
  const [, rows, columns] = shape.sums;
  return [rows, columns];
}

function layerStateShape(sizes: ModelSizes, mixer: MixerConfig): MixerStateShape {
  return mixerStateShape(mixer, { ...sizes, headDim: sizes.headWidth, valueDim: valueWidth(sizes) });
}

/** Where a node's new rows lie in the R numbers that `rows` has of it per key-value head. */
export interface RowLayout {
  /** R. */
  readonly width: number;
  /** Per layer: first number and width of the key row, and of the value row behind it. */
  readonly layers: readonly { readonly keys: RowPlace; readonly values: RowPlace }[];
}

export interface RowPlace {
  readonly start: number;
  readonly width: number;
}

/** The layout of a model's rows: key and value of layer 0, key and value of layer 1, … */
export function rowLayout({ sizes, mixers }: CausalModel): RowLayout {
  let width = 0;
  const place = (count: number): RowPlace => {
    const start = width;
    width += count;
    return { start, width: count };
  };
  const layers = mixers.map((mixer) => ({
    keys: place(rowWidth(mixer, sizes.headWidth)),
    values: place(valueWidth(sizes)),
  }));
  return { width, layers };
}

/** Builds the step graph of a model. The shapes of its inputs and outputs are in the table above. */
export function stepGraph(model: CausalModel, makeSource: (graph: Graph) => ParameterSource): Graph {
  const graph = new Graph(`${model.family} step`);
  const source = makeSource(graph);
  const { keyValueHeads: M, width } = model.sizes;
  const tokens = graph.input('tokens', 'int32', ['B', 'T']);
  const positions = declarePositions(model.positions, graph);
  const wanted = graph.input('wanted', 'int32', ['W']);
  const masks = new Map(stateLayouts(model.mixers).map((layout) => [layout.name, declareMasks(graph, layout)]));
  const layout = rowLayout(model);
  const rows: Value[] = [];
  const shifting = new ShiftInputs(graph, model);

  const hidden = model.trunk(source, tokens, positions, {
    mix(layer, projected) {
      const mixer = model.mixers[layer];
      const { name, ring: slots = 'C' } = stateLayout(mixer);
      const layoutMasks = masks.get(name);
      if (layoutMasks === undefined) throw new LinnetError('INTERNAL', `internal: no masks for layout ${name}`);
      const { keys, values } = layout.layers[layer];
      const sums = layerSumsShape(model, mixer);
      const state = {
        keys: graph.input(`keys.${layer}`, 'float32', ['B', M, slots, keys.width]),
        values: graph.input(`values.${layer}`, 'float32', ['B', M, slots, values.width]),
        sums: sums === null ? undefined : graph.input(`sums.${layer}`, 'float32', ['B', M, ...sums]),
        memory: layoutMasks.memory && { ...layoutMasks.memory, ...declareProjected(graph, model, layer) },
      };
      const parameters = mixerParameterValues(model, source, layer);
      const result = mixStep(mixer, projected, state, layoutMasks.ring, layoutMasks.tree, parameters);
      rows[2 * layer] = result.keys;
      rows[2 * layer + 1] = result.values;
      return result.mixed;
    },
    shift: (layer, features) => shifting.shift(layer, features),
  });
  const picked = gather(reshape(hidden, [multiplyDims('B', 'T'), width]), wanted); // [W,width]
  graph.output('logits', model.head(source, picked));
  graph.output('hidden', picked);
  graph.output('rows', concat(rows, 3)); // [B,M,T,R]
  shifting.declareOutput();
  return graph;
}

/** The features of the token before, among the nodes of trees: the parent's, or what the state remembers. */
class ShiftInputs {
  readonly #graph: Graph;
  readonly #width: number;
  readonly #parents: Value | undefined;
  readonly #roots: Value | undefined;
  readonly #features: Value[] = [];

  constructor(graph: Graph, { sizes }: CausalModel) {
    this.#graph = graph;
    this.#width = sizes.shiftWidth ?? 0;
    if (this.#width === 0) return;
    this.#parents = graph.input('parents', 'int32', ['B', 'T']);
    this.#roots = graph.input('roots', 'float32', ['B', 'T', 1]);
  }

  /** @param features [B,T,X] */
  shift(layer: number, features: Value): Value {
    if (this.#parents === undefined || this.#roots === undefined || this.#features[layer] !== undefined) {
      throw new LinnetError('INTERNAL', `internal: layer ${layer} shifts features unannounced`);
    }
    const X = this.#width;
    this.#features[layer] = features;
    const previous = this.#graph.input(`previous.${layer}`, 'float32', ['B', 1, X]);
    const ofParents = gather(reshape(features, [multiplyDims('B', 'T'), X]), this.#parents); // [B,T,X]
    return add(mul(ofParents, sub(1, this.#roots)), mul(previous, this.#roots));
  }

  declareOutput(): void {
    if (this.#width > 0) this.#graph.output('shifts', concat(this.#features, 2)); // [B,T,L*X]
  }
}

/** The names of the dimensions S and N of a layout. */
function memoryDims({ name }: StateLayout): { S: string; N: string } {
  return { S: `S${name}`, N: `N${name}` };
}

function declareProjected(graph: Graph, { mixers, sizes }: CausalModel, layer: number): { keys: Value; values: Value } {
  const { S } = memoryDims(stateLayout(mixers[layer]));
  const declare = (part: string, width: number): Value =>
    graph.input(`memory.${part}.${layer}`, 'float32', ['B', sizes.keyValueHeads, S, width]);
  return {
    keys: declare('keys', rowWidth(mixers[layer], sizes.headWidth)),
    values: declare('values', valueWidth(sizes)),
  };
}

interface LayoutMasks {
  readonly ring: StepMasks;
  readonly tree: StepMasks;
  /** All but the rows themselves, which every layer has its own. */
  readonly memory: Omit<ProjectedMemory, 'keys' | 'values'> | undefined;
}

function declareMasks(graph: Graph, layout: StateLayout): LayoutMasks {
  const declare = (block: string, rows: number | string): StepMasks => ({
    same: graph.input(`same.${layout.name}.${block}`, 'float32', ['B', 1, 'T', rows]),
    earlier: graph.input(`earlier.${layout.name}.${block}`, 'float32', ['B', 1, 'T', rows]),
    lags: graph.input(`lags.${layout.name}.${block}`, 'int32', ['B', 'T', rows]),
  });
  const ringSlots = layout.ring ?? 'C';
  const masks = { ring: declare('ring', ringSlots), tree: declare('tree', 'T') };
  if (layout.projected === undefined) return { ...masks, memory: undefined };
  const { S, N } = memoryDims(layout);
  const places = (block: string, rows: number | string): PlacesInBlocks => ({
    offsets: graph.input(`offsets.${layout.name}.${block}`, 'int32', ['B', rows]),
    member: graph.input(`member.${layout.name}.${block}`, 'float32', ['B', rows, N]),
  });
  const memory = {
    held: graph.input(`held.${layout.name}`, 'float32', ['B', 1, 1, S]),
    closed: graph.input(`closed.${layout.name}`, 'float32', ['B', 1, 'T', N]),
    ring: places('ring', ringSlots),
    tree: places('tree', 'T'),
  };
  return { ...masks, memory };
}

/**
 * Names the way a layer's closed groups are folded: layers of one name can share a fold graph. Undefined for a mixer
 * that keeps nothing of them.
 */
export function foldName(mixer: MixerConfig, layer: number): string | undefined {
  if (mixer.kind === 'block-linformer') return `layer ${layer}`;
  if (mixer.kind === 'features') {
    return isLearnedMap(mixer.map) ? `layer ${layer}` : JSON.stringify([mixer.map, mixer.output]);
  }
  if (mixer.kind === 'gau')
    return mixer.global ? `gau rows${mixer.local === null ? '' : ' of two branches'}` : undefined;
  if (mixer.kind !== 'linear' || mixer.global === null) return undefined;
  return keepsRawKeys(mixer) ? 'raw keys' : 'unit keys';
}

/**
 * S ← S + Σ k̂ᵀv (features: Σ φ(k)ᵀv) over the n rows of groups that have closed: `sums` [X,…], `keys` [X,n,D]
 * and `values` [X,n,E] → `folded` like `sums`, where X runs over layers and heads; over the heads of the one layer for a learned map.
 *
 * Linformer by blocks: the projected rows of the N blocks that have closed, `keys` [M,N,G,D] and `values` [M,N,G,E] →
 * `folded` [M,N,r,D+E], keys and values side by side.
 *
 * @param layer one of the layers that share the graph
 */
export function foldGraph(model: CausalModel, layer: number, makeSource: (graph: Graph) => ParameterSource): Graph {
  const { headWidth, keyValueHeads: M } = model.sizes;
  const mixer = model.mixers[layer];
  if (mixer.kind === 'block-linformer') return projectionGraph(model, layer, mixer, makeSource);
  const D = rowWidth(mixer, headWidth);
  const E = valueWidth(model.sizes);
  const shape = layerSumsShape(model, mixer);
  if (shape === null || mixer.kind === 'linformer') {
    throw new LinnetError('INTERNAL', `internal: layer ${layer} has nothing to fold`);
  }
  const graph = new Graph(`${model.family} fold`);
  const learned = mixer.kind === 'features' && isLearnedMap(mixer.map);
  const X = learned ? M : 'X';
  const keys = graph.input('keys', 'float32', [X, 'n', D]);
  const values = graph.input('values', 'float32', [X, 'n', E]);
  const sums = graph.input('sums', 'float32', [X, ...shape]);
  if (mixer.kind === 'gau') {
    graph.output('folded', foldUnit(mixer, keys, values, sums));
    return graph;
  }
  if (mixer.kind !== 'features') {
    const unitKeys = keepsRawKeys(mixer) ? unitLength(keys) : keys;
    graph.output('folded', add(sums, matmul(unitKeys, values, { transposeA: true })));
    return graph;
  }
  const outer = learned ? [1, M] : ['X', 1]; // sequences and heads, as feature maps want them
  const rows = (x: Value, last: readonly (number | string)[]): Value => reshape(x, [...outer, ...last]);
  const parameters = learned ? mixerParameterValues(model, makeSource(graph), layer) : {};
  const folded = foldFeatures(
    mixer,
    rows(keys, ['n', D]),
    rows(values, ['n', E]),
    rows(sums, shape),
    parameters['feature_map_k.weight'],
  );
  graph.output('folded', reshape(folded, [X, ...shape]));
  return graph;
}

function projectionGraph(
  model: CausalModel,
  layer: number,
  { block }: BlockLinformerMixer,
  makeSource: (graph: Graph) => ParameterSource,
): Graph {
  const { headWidth: D, keyValueHeads: M } = model.sizes;
  const graph = new Graph(`${model.family} projection of blocks`);
  const keys = graph.input('keys', 'float32', [M, 'N', block, D]);
  const values = graph.input('values', 'float32', [M, 'N', block, valueWidth(model.sizes)]);
  const parameters = mixerParameterValues(model, makeSource(graph), layer);
  graph.output('folded', projectBlocks(keys, values, parameters));
  return graph;
}
