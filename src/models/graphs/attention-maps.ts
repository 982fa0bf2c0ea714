/**
 * Attention maps of a short text: the weight that every position gives every other, per layer, head and branch. Mixers are
 * linear in their values, so the weights are a mixer's output for unit vectors: value j is 1 at place j and 0 elsewhere,
 * and place j of the output at t is the weight of j at t. The parallel form computes them, from the running model's queries
 * and keys.
 */
import { convolutionReach, filterName } from '../../attention/convolution-config.ts';
import type { Branch, Horizon, MixerConfig, ProjectedPositions } from '../../attention/mixer.ts';
import { convolutionOf, describeMixer, float32Error, horizonOf, mixerParameters } from '../../attention/mixers.ts';
import { LinnetError } from '../../errors.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { type Tensor, dataOf, formatShape, int32, sameShape } from '../../graph/tensor.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import type { Program } from '../../runtime/program.ts';
import type { CausalModel } from '../model.ts';
import { constantPositions, parallelMix, parallelMixing } from './parallel-graph.ts';

/** One layer's weights, and the rows they belong to. Arrays are row-major. */
export interface LayerMaps {
  readonly mixer: MixerConfig;
  /** H. */
  readonly heads: number;
  /** M; query head h reads key-value head ⌊h/(H/M)⌋. */
  readonly keyValueHeads: number;
  /**
   * Weights [H,T,T] by branch: (h,t,j) is the weight of position j's value at position t. `window`: row by row, as softmax
   * reads (the current group, in kinds without a window); `sinks`: the first positions, outside the window; `memory`:
   * everything else before t, read from sums; `convolution`: the filter. Their sum times the values is `mixed`. Branches
   * that the mixer lacks are absent.
   */
  readonly branches: Readonly<Partial<Record<Branch, Float32Array>>>;
  /** Queries [H,T,D], as the mixer receives them. */
  readonly queries: Float32Array;
  /** Keys [M,T,D]. */
  readonly keys: Float32Array;
  /** Values [M,T,E]. */
  readonly values: Float32Array;
  /** The mixer's output, [H,T,E]. */
  readonly mixed: Float32Array;
}

/** Weights between a text's positions in every layer of a model. */
export interface AttentionMaps {
  /** T. */
  readonly length: number;
  readonly layers: readonly LayerMaps[];
}

/** How to compute maps. */
export interface AttentionMapsOptions {
  /** Compiles the graph: `compile` of `linnet/graph`; in a browser `compileForWeb` of `linnet/web/training`. */
  readonly compile: (graph: Graph) => Promise<Program>;
}

/** Most tokens per text: a layer's maps have H·T² numbers per branch. */
const mostTokens = 1024;

/** A layer's numbers that leave the engine. */
const outputs = ['queries', 'keys', 'values', 'mixed', 'weights'] as const;

/**
 * The attention maps of a text.
 * @param tokens 1 to 1024, including the start token if the model wants one
 * @throws LinnetError `INPUT` for no tokens, too many, or one outside the vocabulary; `CONFIG` for a mixer whose output is
 *   not a weighted sum of values, because it is normalized or values gate it; and like `compile`
 * @example
 * ```ts
 * const maps = await attentionMaps(model, parameters, tokens, { compile });
 * for (const { branches } of maps.layers) console.log(branches.window, branches.memory);
 * ```
 */
export async function attentionMaps(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor>,
  tokens: ArrayLike<number>,
  { compile }: AttentionMapsOptions,
): Promise<AttentionMaps> {
  const length = tokens.length;
  const { vocabulary } = model.sizes;
  if (length < 1 || length > mostTokens) {
    throw new LinnetError('INPUT', `attention maps of ${length} tokens; expected 1 to ${mostTokens}`);
  }
  const outside = Array.from(tokens).find((token) => !(Number.isInteger(token) && token >= 0 && token < vocabulary));
  if (outside !== undefined) {
    throw new LinnetError('INPUT', `token ${outside} is not in the vocabulary of 0 to ${vocabulary - 1}`);
  }
  for (const mixer of new Set(model.mixers)) requireLinear(model, mixer, length);
  await using program = await compile(mapsGraph(model, parameters, length));
  const names = model.mixers.flatMap((_, layer) => outputs.map((name) => `${name}.${layer}`));
  const results = await program.run({ tokens: int32([1, length], Int32Array.from(tokens)) }, names);
  const layers = model.mixers.map((mixer, layer): LayerMaps => {
    const rows = (name: (typeof outputs)[number]): HeadRows => headsOutermost(results[`${name}.${layer}`]);
    const filter = parameters.get(`${model.attentionPrefix(layer)}.${filterName}`);
    const [queries, keys, values, mixed] = [rows('queries'), rows('keys'), rows('values'), rows('mixed')];
    const weights = rows('weights').data;
    requireWeightedSum(mixer, weights, values, mixed);
    return {
      mixer,
      heads: queries.heads,
      keyValueHeads: keys.heads,
      branches: separated(mixer, weights, queries.heads, length, filter),
      queries: queries.data,
      keys: keys.data,
      values: values.data,
      mixed: mixed.data,
    };
  });
  return { length, layers };
}

/** The whole model over one sequence, each mixer also run on unit vectors as values. */
function mapsGraph(model: CausalModel, parameters: ReadonlyMap<string, Tensor>, length: number): Graph {
  const graph = new Graph('attention maps');
  const source = new WeightParameters(graph, parameters);
  const tokens = graph.input('tokens', 'int32', [1, length]);
  const mix = parallelMix(model, source);
  const mixing = parallelMixing((layer, projected, scoring) => {
    const mixed = mix(layer, projected, scoring);
    const units: ProjectedPositions = { ...projected, v: unitValues(graph, length, Number(projected.v.shape[2])) };
    graph.output(`queries.${layer}`, projected.q);
    graph.output(`keys.${layer}`, projected.k);
    graph.output(`values.${layer}`, projected.v);
    graph.output(`mixed.${layer}`, mixed);
    graph.output(`weights.${layer}`, mix(layer, units, scoring)); // [1,T,H,T]
    return mixed;
  });
  const hidden = model.backbone(source, tokens, constantPositions(model, graph, 1, length), mixing);
  graph.output('hidden', hidden);
  return graph;
}

/** [1,T,M,T]: position j's value is unit vector j, in every head. */
function unitValues(graph: Graph, length: number, heads: number): Value {
  return graph.sharedNumbers(`unit values ${length} ${heads}`, [1, length, heads, length], (i) =>
    i % length === Math.floor(i / (length * heads)) ? 1 : 0,
  );
}

/** Parameters that depend on the width of values do not fit unit vectors. */
function requireLinear({ sizes }: CausalModel, mixer: MixerConfig, length: number): void {
  const dims = { heads: sizes.heads, keyValueHeads: sizes.keyValueHeads, headWidth: sizes.headWidth };
  const own = mixerParameters(mixer, { ...dims, valueWidth: sizes.valueWidth });
  const probed = mixerParameters(mixer, { ...dims, valueWidth: length });
  const other = own.find(({ shape }, at) => !sameShape(shape, probed[at].shape));
  if (other === undefined) return;
  throw notLinear(mixer, `its ${other.name} ${formatShape(other.shape)} reads the values`);
}

function notLinear(mixer: MixerConfig, why: string): LinnetError {
  return new LinnetError(
    'CONFIG',
    `the output of '${describeMixer(mixer)}' is not a weighted sum of values, so it has no attention map: ${why}`,
  );
}

interface HeadRows {
  readonly heads: number;
  readonly width: number;
  /** [heads,T,width] */
  readonly data: Float32Array;
}

/** [1,T,heads,width] → [heads,T,width]. */
function headsOutermost(value: Tensor): HeadRows {
  const [, length, heads, width] = value.shape;
  const given = dataOf(value, 'float32');
  const data = new Float32Array(given.length);
  for (let t = 0; t < length; t++) {
    for (let head = 0; head < heads; head++) {
      const start = (t * heads + head) * width;
      data.set(given.subarray(start, start + width), (head * length + t) * width);
    }
  }
  return { heads, width, data };
}

/** Checks that weights times values equal the mixer's output. */
function requireWeightedSum(mixer: MixerConfig, weights: Float32Array, values: HeadRows, mixed: HeadRows): void {
  const { heads, width, data } = mixed;
  const length = data.length / (heads * width);
  let largest = 0;
  let difference = 0;
  for (let row = 0; row < heads * length; row++) {
    const keyValueHead = Math.floor(Math.floor(row / length) / (heads / values.heads));
    for (let channel = 0; channel < width; channel++) {
      let sum = 0;
      for (let j = 0; j < length; j++) {
        sum += weights[row * length + j] * values.data[(keyValueHead * length + j) * width + channel];
      }
      const given = data[row * width + channel];
      largest = Math.max(largest, Math.abs(given));
      difference = Math.max(difference, Math.abs(sum - given));
    }
  }
  if (difference <= Math.max(1e-4, float32Error(mixer)) * Math.max(largest, 1e-3)) return;
  throw notLinear(mixer, `weights times values differ from it by ${difference.toPrecision(3)}`);
}

/** Weights [H,T,T] by branch: the filter's weights are known, and a row's position alone decides which branch reads it. */
function separated(
  mixer: MixerConfig,
  weights: Float32Array,
  heads: number,
  length: number,
  filter: Tensor | undefined,
): Partial<Record<Branch, Float32Array>> {
  const horizon = horizonOf(mixer);
  const branches: Partial<Record<Branch, Float32Array>> = { window: new Float32Array(weights.length) };
  if (Number.isFinite(horizon.group)) branches.memory = new Float32Array(weights.length);
  if (horizon.sinks !== undefined && horizon.sinks > 0) branches.sinks = new Float32Array(weights.length);
  const convolution = filter && filterWeights(mixer, dataOf(filter, 'float32'), heads, length);
  for (let at = 0; at < weights.length; at++) {
    const j = at % length;
    const t = Math.floor(at / length) % length;
    const branch = branches[readBy(horizon, t, j)] ?? branches.window;
    if (branch !== undefined) branch[at] = weights[at] - (convolution?.[at] ?? 0);
  }
  return convolution === undefined ? branches : { ...branches, convolution };
}

/** The branch through which position t reads position j. */
function readBy({ group, window = 1, sinks = 0 }: Horizon, t: number, j: number): Branch {
  const distance = Number.isFinite(group) ? Math.floor(t / group) - Math.floor(j / group) : 0;
  if (distance < window) return 'window';
  return j < sinks ? 'sinks' : 'memory';
}

/** The filter's weights [H,1,K,1] by position: [H,T,T]. */
function filterWeights(mixer: MixerConfig, filter: Float32Array, heads: number, length: number): Float32Array {
  const weights = new Float32Array(heads * length * length);
  const convolution = convolutionOf(mixer);
  if (convolution === null) return weights;
  const { kernel, masked } = convolution;
  const reach = convolutionReach(kernel);
  for (let head = 0; head < heads; head++) {
    for (let t = 0; t < length; t++) {
      const last = Math.min(length - 1, masked ? t : t + reach);
      for (let j = Math.max(0, t - reach); j <= last; j++) {
        weights[(head * length + t) * length + j] = filter[head * kernel + reach + j - t];
      }
    }
  }
  return weights;
}
