/**
 * T5 text by text and token by token. The encoder runs once per text and leaves, for every layer of the decoder, the
 * memory that cross attention reads: keys and values, or the sums of a linear mixer. The decoder then reads one token
 * per hypothesis and step; W hypotheses of a text share its memory, of which no copy is made.
 *
 * All hypotheses are at the same position t, so masks, lags and buckets of distances are those of one sequence. Inputs of
 * the step, with B = S·W hypotheses of S texts:
 *
 * | input | type | content |
 * |---|---|---|
 * | `tokens` | int32 [B,1] | the token at position t |
 * | `keys.i`, `values.i` | float32 [B,H,C,D] | rows of layer i: all so far, or a ring of the last C |
 * | `sums.i` | float32 [B,H,X,Y] | S of layer i, where its mixer has sums |
 * | `memory.keys.i`, `memory.values.i` | float32 [B,H,P,D] | rows of closed blocks, in a layer of Linformer by blocks |
 * | `held.ℓ` | float32 0/1 [1,1,1,P] | which of them are in use, once per layout ℓ with blocks |
 * | `same.ℓ`, `earlier.ℓ`, `lags.ℓ` | [1,1,1,C], lags int32 [1,1,C] | see `StepMasks`, once per layout ℓ |
 * | `buckets.ℓ` | int32 [C] | bucket of the distance to each row |
 * | `cross.i.keys`, `cross.i.values`, … | see `CrossMemory` | memory of layer i, per text |
 *
 * Outputs: `logits` [B,V] and `rows` [2·L,B,H,D], keys of layer i at 2i and values at 2i + 1.
 */
import { asCrossMixer, crossMemory, type CrossMemory, crossTensors, readMemory } from '../../attention/cross.ts';
import { isLearnedMap } from '../../attention/features/feature-config.ts';
import { foldFeatures } from '../../attention/features/feature-step.ts';
import { projectBlocks } from '../../attention/linformer/block-linformer-step.ts';
import type { BlockLinformerMixer, FeaturesMixer, LinearMixer, MixerConfig } from '../../attention/mixer.ts';
import { mixStep, type StepMasks } from '../../attention/step.ts';
import type { PlacesInBlocks, ProjectedMemory } from '../../attention/step-blocks.ts';
import { mixerStateShape } from '../../attention/state.ts';
import { LinnetError } from '../../errors.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { add } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { concat, reshape, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { unitLength } from '../../graph/ops/normalization.ts';
import { type Dim, multiplyDims } from '../../graph/shape.ts';
import { elementCount, float32, int32 } from '../../graph/tensor.ts';
import { type ParameterSource, scoped } from '../../nn/parameters.ts';
import { type StateLayout, stateLayout } from '../step-graph.ts';
import { biasTable, mountMixer, tempered } from './attention.ts';
import type { T5Config } from './config.ts';
import { linearCrossSums, postNorm, readCrossSums } from './linear-attention.ts';
import { type BiasedBlock, linearStep, softmaxStep } from './linear-step.ts';
import {
  joinedHeads,
  projectedHeads,
  projectedPositions,
  t5Embedding,
  t5FeedForwardBlock,
  t5Head,
  t5Model,
  type T5Model,
  t5Norm,
} from './model.ts';
import { attentionName, crossAttentionLayer, mixerSizes, selfAttentionLayer } from './parameters.ts';

/** The tensors of the memory of a cross attention, by name. */
export function memoryTensors(mixer: MixerConfig): readonly (keyof CrossMemory)[] {
  return mixer.kind === 'linear' ? ['sums'] : crossTensors[asCrossMixer(mixer).kind];
}

/**
 * The encoder with the memories of one text: `tokens` int32 [1,n] and `mask` float32 [1,n] → `cross.i.…`.
 * @throws LinnetError `CONFIG` for a local branch in cross attention, which has no memory
 */
export function t5SourceGraph(model: T5Model, length: number, makeSource: (graph: Graph) => ParameterSource): Graph {
  const { config } = model;
  const graph = new Graph('t5 source');
  const source = makeSource(graph);
  const mask = graph.input('mask', 'float32', [1, length]);
  const encoded = model.encode(source, { tokens: graph.input('tokens', 'int32', [1, length]), mask });
  for (let layer = 0; layer < config.decoderLayers; layer++) {
    const { mixer, parameters } = mountMixer(config, source, 'cross', layer);
    const own = scoped(source, attentionName('cross', layer));
    const k = projectedHeads(config, own, 'k', encoded);
    const v = projectedHeads(config, own, 'v', encoded);
    const memory =
      mixer.kind === 'linear'
        ? { sums: linearCrossSums(k, v, mask) }
        : crossMemory(asCrossMixer(mixer), { k: tempered(mixer, { q: k, k }).k, v, mask }, parameters);
    if (mixer.kind === 'linear' && mixer.local !== null) {
      throw new LinnetError(
        'CONFIG',
        `the local branch of ${attentionName('cross', layer)} ` +
          'pairs groups of two texts of equal length and cannot write a text; use a global branch alone',
      );
    }
    for (const name of memoryTensors(mixer)) {
      const value = memory[name];
      if (value !== undefined) graph.output(`cross.${layer}.${name}`, value);
    }
  }
  return graph;
}

/** The layouts of the decoder's states, in order of first use. */
export function decoderLayouts({ mixers }: T5Config): StateLayout[] {
  return [...new Map(mixers.decoder.map((mixer) => [stateLayout(mixer).name, stateLayout(mixer)])).values()];
}

/** Rows and columns of S per head; null for a mixer without sums. */
export function decoderSums(config: T5Config, mixer: MixerConfig): readonly [number, number] | null {
  const shape = mixerStateShape(mixer, { ...mixerSizes(config), headDim: config.headWidth });
  if (shape.kind !== 'constant' || shape.sums === null) return null;
  const [, rows, columns] = shape.sums;
  return [rows, columns];
}

/**
 * The graph of a step.
 * @param beams W
 */
export function t5StepGraph(model: T5Model, beams: number, makeSource: (graph: Graph) => ParameterSource): Graph {
  const { config } = model;
  const { heads: H, headWidth: D, decoderLayers } = config;
  const graph = new Graph('t5 step');
  const source = makeSource(graph);
  const B = multiplyDims('S', beams);
  const layouts = new Map(decoderLayouts(config).map((layout) => [layout.name, declareLayout(config, source, layout)]));
  const rows: Value[] = [];
  let x = t5Embedding(config, source, graph.input('tokens', 'int32', [B, 1])); // [B,1,width]
  for (let layer = 0; layer < decoderLayers; layer++) {
    const normed = t5Norm(config, source, `${selfAttentionLayer('decoder', layer)}.layer_norm`, x);
    const own = scoped(source, attentionName('decoder', layer));
    const { mixer, parameters } = mountMixer(config, source, 'decoder', layer);
    const layout = stateLayout(mixer);
    const views = layouts.get(layout.name);
    if (views === undefined) throw new LinnetError('INTERNAL', `internal: no masks for layout ${layout.name}`);
    const positions = projectedPositions(config, own, normed);
    const shape = [B, H, layout.ring ?? 'C', D];
    const sums = decoderSums(config, mixer);
    const state = {
      keys: graph.input(`keys.${layer}`, 'float32', shape),
      values: graph.input(`values.${layer}`, 'float32', shape),
      sums: sums === null ? undefined : graph.input(`sums.${layer}`, 'float32', [B, H, ...sums]),
    };
    let mixed: Value; // [B,1,H,D]
    if (mixer.kind === 'softmax' || mixer.kind === 'linear') {
      const [keys, values] = [positions.k, positions.v].map((row) => transpose(row, [0, 2, 1, 3])); // [B,H,1,D]
      const queries = transpose(positions.q, [0, 2, 1, 3]);
      const blocks = [
        { ...state, masks: views.ring, bias: views.ringBias() },
        { keys, values, masks: views.self, bias: views.selfBias() },
      ] satisfies BiasedBlock[];
      mixed =
        mixer.kind === 'softmax'
          ? transpose(softmaxStep(queries, blocks), [0, 2, 1, 3])
          : linearStep(mixer, queries, blocks, state.sums, parameters);
      rows.push(keys, values);
    } else {
      const memory = views.held && declareMemory(graph, layout, layer, [B, H, D], views.held);
      const remembered = { ...state, memory };
      const result = mixStep(mixer, tempered(mixer, positions), remembered, views.ring, views.self, parameters);
      mixed = result.mixed;
      rows.push(result.keys, result.values);
    }
    x = add(x, joinedHeads(config, own, mixed));
    x = add(x, crossStep(config, source, layer, beams, x));
    x = add(x, t5FeedForwardBlock(config, source, 'decoder', layer, x));
  }
  const hidden = t5Norm(config, source, 'decoder.final_layer_norm', x);
  graph.output('logits', t5Head(config, source, reshape(hidden, [B, config.width])));
  graph.output(
    'rows',
    concat(
      rows.map((row) => reshape(row, [1, B, H, D])),
      0,
    ),
  ); // [2*L,B,H,D]
  return graph;
}

/** The memory of a layer read by the W hypotheses of each text, as W queries. [B,1,width] */
function crossStep(config: T5Config, source: ParameterSource, layer: number, beams: number, x: Value): Value {
  const { heads: H, headWidth: D } = config;
  const graph = source.graph;
  const asked = t5Norm(config, source, `${crossAttentionLayer(layer)}.layer_norm`, x);
  const own = scoped(source, attentionName('cross', layer));
  const { mixer, parameters } = mountMixer(config, source, 'cross', layer);
  const q = reshape(projectedHeads(config, own, 'q', asked), ['S', beams, H, D]);
  const memory: Partial<Record<keyof CrossMemory, Value>> = {};
  for (const name of memoryTensors(mixer)) {
    memory[name] = graph.input(`cross.${layer}.${name}`, 'float32', ['S', ...memoryShape(config, mixer, name)]);
  }
  // Linformer's queries are tempered already.
  const scale = mixer.kind === 'softmax' ? { scale: 1 } : {};
  const read =
    mixer.kind === 'linear'
      ? postNorm(readCrossSums(q, memory.sums, parameters.global_factor))
      : readMemory(asCrossMixer(mixer), tempered(mixer, { q, k: q }).q, memory, parameters, scale);
  return joinedHeads(config, own, reshape(read, [multiplyDims('S', beams), 1, H, D]));
}

/** The shape of a tensor of a memory, without the texts; m is the length of the longest text. */
function memoryShape(config: T5Config, mixer: MixerConfig, name: keyof CrossMemory): Dim[] {
  const { heads: H, headWidth: D } = config;
  if (name === 'visible') return [1, 1, 'm'];
  if (name === 'sums') return [H, ...(decoderSums(config, mixer) ?? [D, D])];
  return [H, mixer.kind === 'linformer' ? mixer.rows : 'm', D];
}

/** Masks of the rows of a layout, and the relative bias of each, made once where a layer asks for it. */
interface LayoutViews {
  readonly ring: StepMasks;
  readonly self: StepMasks;
  /** [1,1,1,P], where closed blocks leave projected rows. */
  readonly held: Value | undefined;
  /** [1,H,1,C] */
  readonly ringBias: () => Value;
  /** [1,H,1,1] */
  readonly selfBias: () => Value;
}

function declareLayout(config: T5Config, source: ParameterSource, layout: StateLayout): LayoutViews {
  const { name, ring, projected } = layout;
  const { graph } = source;
  const C = ring ?? 'C';
  const one = graph.sharedConstant('t5 self', () => float32([1, 1, 1, 1], [1]));
  const none = graph.sharedConstant('t5 none', () => float32([1, 1, 1, 1], [0]));
  const buckets = graph.input(`buckets.${name}`, 'int32', [C]);
  const nearest = graph.sharedConstant('t5 nearest', () => int32([1], [0]));
  const biasOf = (indices: Value, rows: Dim): Value =>
    reshape(transpose(gather(biasTable(config, source, 'decoder'), indices), [1, 0]), [1, config.heads, 1, rows]);
  return {
    ring: {
      same: graph.input(`same.${name}`, 'float32', [1, 1, 1, C]),
      earlier: graph.input(`earlier.${name}`, 'float32', [1, 1, 1, C]),
      lags: graph.input(`lags.${name}`, 'int32', [1, 1, C]),
    },
    self: { same: one, earlier: none, lags: graph.sharedConstant('t5 lag', () => int32([1, 1, 1], [0])) },
    held: projected === undefined ? undefined : graph.input(`held.${name}`, 'float32', [1, 1, 1, memoryRows(layout)]),
    ringBias: () => biasOf(buckets, C),
    selfBias: () => biasOf(nearest, 1),
  };
}

/** P of a layout. */
function memoryRows({ name }: StateLayout): string {
  return `P${name}`;
}

/**
 * The memory of closed blocks of a layer. No block closes within a step of one token, where a new one closes with it: so
 * no row of the ring or the token itself belongs to a closed block that is not projected yet.
 */
function declareMemory(
  graph: Graph,
  layout: StateLayout,
  layer: number,
  [B, H, D]: readonly [Dim, number, number],
  held: Value,
): ProjectedMemory {
  const rows = (part: string): Value =>
    graph.input(`memory.${part}.${layer}`, 'float32', [B, H, memoryRows(layout), D]);
  const zeros = (shape: readonly number[]): Value =>
    graph.sharedConstant(`t5 zeros ${shape.join()}`, () => float32(shape, new Float32Array(elementCount(shape))));
  const places = (count: number): PlacesInBlocks => ({
    offsets: graph.sharedConstant(`t5 offsets ${count}`, () => int32([1, count], new Int32Array(count))),
    member: zeros([1, count, 1]),
  });
  return {
    keys: rows('keys'),
    values: rows('values'),
    held,
    closed: zeros([1, 1, 1, 1]),
    ring: places(layout.ring ?? 0),
    tree: places(1),
  };
}

/** A mixer that keeps sums or projected rows of closed groups. */
export type FoldingMixer = LinearMixer | FeaturesMixer | BlockLinformerMixer;

/** The mixer, if its closed groups are folded into the state. */
export function foldingMixer(mixer: MixerConfig): FoldingMixer | undefined {
  if (mixer.kind === 'linear') return mixer.global === null ? undefined : mixer;
  return mixer.kind === 'features' || mixer.kind === 'block-linformer' ? mixer : undefined;
}

/** Names the way a layer's closed groups are folded: layers of one name can share a fold graph. */
export function decoderFoldName(mixer: FoldingMixer, layer: number): string {
  if (mixer.kind === 'linear') return 'linear';
  if (mixer.kind === 'block-linformer') return `layer ${layer}`;
  return isLearnedMap(mixer.map) ? `layer ${layer}` : JSON.stringify([mixer.map, mixer.output]);
}

/**
 * S ← S + Σ over a closed group: `keys` and `values` [B,H,n,D], `sums` [B,H,X,Y] → `folded` like `sums`. Of Linformer by
 * blocks the projected rows of a block, without `sums`: `folded` [B,H,r,2·D], keys and values side by side.
 */
export function t5FoldGraph(model: T5Model, layer: number, makeSource: (graph: Graph) => ParameterSource): Graph {
  const { config } = model;
  const { heads: H, headWidth: D } = config;
  const graph = new Graph('t5 fold');
  const { mixer, parameters } = mountMixer(config, makeSource(graph), 'decoder', layer);
  const rows = mixer.kind === 'block-linformer' ? mixer.block : 'n';
  const keys = graph.input('keys', 'float32', ['B', H, rows, D]);
  const values = graph.input('values', 'float32', ['B', H, rows, D]);
  if (mixer.kind === 'block-linformer') {
    graph.output('folded', projectBlocks(keys, values, parameters));
    return graph;
  }
  const shape = decoderSums(config, mixer);
  if (shape === null || (mixer.kind !== 'linear' && mixer.kind !== 'features')) {
    throw new LinnetError('INTERNAL', `internal: layer ${layer} has nothing to fold`);
  }
  const sums = graph.input('sums', 'float32', ['B', H, ...shape]);
  const folded =
    mixer.kind === 'linear'
      ? add(sums, matmul(unitLength(keys), unitLength(values), { transposeA: true }))
      : foldFeatures(mixer, keys, values, sums, parameters['feature_map_k.weight']);
  graph.output('folded', folded);
  return graph;
}

/** The T5 model behind a description. @throws LinnetError `CONFIG` if it is not one */
export function asT5(model: { readonly family: string; toJson(): Record<string, unknown> }): T5Model {
  if (model.family === 't5') return t5Model(model.toJson());
  throw new LinnetError('CONFIG', `this needs a T5 model, got one of the family ${model.family}`);
}
