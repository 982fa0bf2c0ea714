/**
 * A model over token trees on top of a state: one graph for decoding, prefill and verification.
 *
 * | input | type | content |
 * |---|---|---|
 * | `tokens` | int32 [B,P] | token of every node; row b is sequence b's tree, padded; P is T except in layouts with `productRows` |
 * | `cos` and `sin`, or `positions` | [B,P,...] | the nodes' encoded positions, by the model's `positions` |
 * | `before` | float32 [B,P,width] | multi-token prediction only: the hidden states that chose the tokens |
 * | `wanted` | int32 [W] | nodes whose logits are wanted, as b·P + t |
 * | `mixed`, `products` | int32 [T], [P] | with `productRows`: the T product rows that are mixed, and each of P rows' mixed row |
 * | `same.ℓ.ring` … `lags.ℓ.tree` | see `StepMasks` | masks and offsets, once per distinct layout of slots ℓ |
 * | `NAME.ℓ…` | see `LayoutInputs` | further inputs of mixer kinds, once per layout |
 * | `open.ℓ.M` | int32 [B,M,U] | open rows, if the layout has any: indices into the B·M·C rows of `keys.i` (`OpenRows`); U per step |
 * | `ones.ℓ` | float32 [1,1,U+T,E or 16] | ones, for the denominators over them |
 * | `keys.i`, `values.i` | float32 [B,M,C,D], [B,M,C,E] | layer i's ring (softmax: the cache, whose values are [B,M·E/16,C,16]); [B·M·C,D] and [B·M·C,E] if all its rows may be open |
 * | `sums.i` | float32 [B,M,X,Y] | layer i's S, if its mixer has sums; [B,M,D,E] for a global branch; one per path if rows are replayed |
 * | `memory.keys.i`, `memory.values.i` | float32 [B,M,S,D], [B,M,S,E] | layer i's rows of closed groups, if its mixer has them |
 * | `held.ℓ` | float32 0/1 [B,1,1,S] | the rows in use |
 * | `parents` | int32 [B,T] | b·T + each node's parent; a root names itself |
 * | `final` | int32 [K] | nodes with rows in `final.…`: the last of a chunk that will be committed whole |
 * | `roots` | float32 [B,T,1] | 1 for nodes without a parent, which follow the committed text |
 * | `previous.i` | float32 [B,1,X] | features that layer i gets from the last committed token; zeros at the start |
 * | `cross.i.NAME` | float32 [B,…] | layer i's memory of the encoded text, see `CrossForm`; m is its length |
 *
 * Outputs: `logits` [W,V], `hidden` [W,width], `rows` [B,M,T,R], every node's new keys and values, layer after layer (see
 * `ModelLayout`; `rows.M` for layers whose M differs from the first's), `final.rows` [B,M,K,R] if all its layers replay
 * rows, `shifts` [B,T,L·X], the features for the next tokens, and `later.i`, S of a layer that replays rows, after the
 * `endingSteps`. The rest of the state is only read, never returned: on CPU every output is copied. A graph has no inputs
 * that its model does not need (S without a global branch, offsets without a convolution); `parents`, `roots`, `previous.i`
 * and `shifts` exist only in models that shift features, `cross.i.NAME` only in decoders of encoder-decoder models.
 */
import { HeadLayout } from '../../attention/head-layout.ts';
import { crossForm, mixStep, type StepInput, type StepMasks } from '../../attention/mixers.ts';
import { filterName } from '../../attention/convolution-config.ts';
import type { MixerParameterValues, OpenRows, ProjectedPositions } from '../../attention/mixer.ts';
import { internalError } from '../../errors.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { add, mul, sub } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { concat, pad, reshape, slice } from '../../graph/ops/layout.ts';
import { type Dim, addDims, multiplyDims, sameShape } from '../../graph/tensor.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { declarePositions } from '../../nn/positions.ts';
import { type AutoregressiveModel, type CrossAttention, valueWidth, type MixedRows } from '../model.ts';
import { countOfSums, type ModelLayout, modelLayout, openRows, type SlotLayout } from './model-layout.ts';
import { mixerParameterValues, scoringOf } from './parallel-graph.ts';
import type { StepForms } from './step-forms.ts';

/**
 * Builds a model's step graph. The table above has the shapes of its inputs and outputs.
 * @throws LinnetError `CONFIG` for a mixer that cannot decode
 */
export function stepGraph(
  model: AutoregressiveModel,
  makeSource: (graph: Graph) => ParameterSource,
  layout: ModelLayout = modelLayout(model),
): Graph {
  const graph = new Graph(`${model.family} step`);
  const source = makeSource(graph);
  const { width } = model.sizes;
  const P = layout.productRows ? 'P' : 'T';
  const tokens = graph.input('tokens', 'int32', ['B', P]);
  const positions = declarePositions(model.positions, graph, P);
  const wanted = graph.input('wanted', 'int32', ['W']);
  const final = graph.input(finalName, 'int32', ['K']);
  const inputs = new Map(
    layout.slotLayouts.map((slots) => [slots.name, declareSlots(graph, slots, sumLanes(layout, slots))]),
  );
  const rows: (readonly [keys: Value, values: Value, sums?: Value])[] = [];
  const shifts = declareShifts(graph, model);
  const mixedRows = layout.productRows ? declareMixedRows(graph) : undefined;

  const hidden = model.backbone(source, tokens, positions, {
    rows: mixedRows,
    mix(layer, asked, scoring = scoringOf(model)) {
      const enters = mixedRows !== undefined && asked.q.shape[1] === P;
      const projected = enters ? enteredPositions(mixedRows, asked) : asked;
      const { mixer, form, slots } = layout.layers[layer];
      const ofSlots = inputs.get(slots.name);
      if (ofSlots === undefined) throw internalError(`no masks for layout ${slots.name}`);
      const heads = new HeadLayout(projected.q, Number(projected.k.shape[2]), slots.open !== undefined);
      const parametersOf = (other: number): MixerParameterValues => mixerParameterValues(model, source, other);
      const result = mixStep(
        mixer,
        {
          ...projected,
          parameters: parametersOf(layer),
          scoring,
          heads,
          horizon: slots.horizon,
          withinFolds: slots.withinFolds,
          ...declareState(graph, layout, layer, ofSlots),
          filters: filtersOf(layout, layer, parametersOf),
        },
        form,
      );
      rows[layer] = [result.keys, result.values, result.sums];
      if (result.sums !== undefined) graph.output(laterSumsName(layer), result.sums);
      const mixed = heads.split(result.mixed);
      return enters ? mixedRows.leave(mixed) : mixed;
    },
    shift(layer, features) {
      if (shifts === undefined) throw internalError(`layer ${layer} shifts features unannounced`);
      return shifts.shift(layer, features);
    },
    cross: (layer, q) => readEncoded(model, source, layer, q),
  });
  const picked = gather(reshape(hidden, [multiplyDims('B', P), width]), wanted); // [W,width]
  graph.output('logits', model.head(source, picked));
  graph.output('hidden', picked);
  for (const [i, { name }] of layout.rows.entries()) {
    const own = rows.filter((_, layer) => layout.layers[layer].output === i);
    const all = concat(
      own.flatMap(([keys, values]) => [keys, values]),
      3,
    ); // [B,M,T,R]
    graph.output(name, all);
    // Layers with S as an output have short states.
    if (own.every(([, , sums]) => sums)) graph.output(finalRowsName(name), gather(all, final, 2)); // [B,M,K,R]
  }
  if (shifts !== undefined) graph.output('shifts', concat(shifts.given, 2)); // [B,T,L*X]
  return graph;
}

/** The final nodes' name in the graph. */
export const finalName = 'final';

/** The name of the final nodes' rows. @param name all nodes' rows */
export function finalRowsName(name: string): string {
  return `${finalName}.${name}`;
}

/** Names of the mixed rows of products, and of each product row's mixed row. */
export const productRowNames = { mixed: 'mixed', products: 'products' } as const;

/** A compiled step graph's forms: exports of earlier versions have fewer. */
export function formsOfGraph({
  inputs,
  outputs,
}: Record<'inputs' | 'outputs', ReadonlyMap<string, unknown>>): StepForms {
  const names = [...inputs.keys(), ...outputs.keys()];
  const has = (start: string): boolean => names.some((name) => name.startsWith(start));
  const crossesFolds = ['earlier.', 'age.', 'older.'].some(has);
  const productRows = inputs.has(productRowNames.mixed);
  const opens = has('open.');
  return { opens, replays: has('later.'), productRows, ordered: true, crossesFolds, columns: opens };
}

/** Declares each value once, such as the angles that rotate all layers. */
function declareMixedRows(graph: Graph): MixedRows {
  const mixed = graph.input(productRowNames.mixed, 'int32', ['T']);
  const products = graph.input(productRowNames.products, 'int32', ['P']);
  const entered = new Map<Value, Value>();
  return {
    enter(rows) {
      const inside = entered.get(rows) ?? gather(rows, mixed, 1);
      entered.set(rows, inside);
      return inside;
    },
    leave: (rows) => gather(rows, products, 1),
  };
}

function enteredPositions({ enter }: MixedRows, { q, k, v, far }: ProjectedPositions): ProjectedPositions {
  return { q: enter(q), k: enter(k), v: enter(v), far: far && enter(far) };
}

/** A layer's `StepInput.filters`: its layout's layers with as many heads. */
function filtersOf(
  { layers }: ModelLayout,
  layer: number,
  parametersOf: (layer: number) => MixerParameterValues,
): StepInput['filters'] {
  const { slots, heads: M } = layers[layer];
  const own = parametersOf(layer)[filterName];
  if (own === undefined) return undefined;
  const alike = slots.layers.filter((other) => layers[other].heads === M);
  const all = alike.map((other) => parametersOf(other)[filterName]).filter((filter) => filter !== undefined);
  const fits = all.length === alike.length && all.every(({ shape }) => sameShape(shape, own.shape));
  return fits ? { all, place: alike.indexOf(layer) } : undefined;
}

/** The inputs that a slot layout's layers share. */
interface SlotValues {
  readonly ring: StepMasks;
  readonly tree: StepMasks;
  /** Only if closed groups leave rows. */
  readonly held?: Value;
  readonly own: Readonly<Record<string, Value>>;
  /** Open rows by M. */
  readonly open: Map<number, Value>;
  readonly ones?: Value;
  readonly onesOfRing?: Value;
}

function declareSlots(graph: Graph, { name, ring, rowsPerGroup, open, inputs }: SlotLayout, lanes: number): SlotValues {
  const slots = ring ?? 'C';
  const masks = (block: string, rows: Dim): StepMasks => ({
    same: graph.input(`same.${name}.${block}`, 'float32', ['B', 1, 'T', rows]),
    earlier: graph.input(`earlier.${name}.${block}`, 'float32', ['B', 1, 'T', rows]),
    offsets: graph.input(`lags.${name}.${block}`, 'int32', ['B', 'T', rows]),
  });
  const own = Object.entries(inputs?.types ?? {}).map(([input, { dtype, shape }]): [string, Value] => [
    input,
    graph.input(slotInputName(input, name), dtype, shape),
  ]);
  const treeRows = open === undefined ? 'T' : addDims(openRows(name), 'T');
  return {
    ring: masks('ring', slots),
    tree: masks('tree', treeRows),
    ones: open && graph.input(onesInputName(name), 'float32', [1, 1, treeRows, lanes]),
    // A cache's length is a multiple of the lanes.
    onesOfRing:
      open === 'block' && ring !== undefined
        ? graph.sharedNumbers(`ones of ${ring} rows, ${lanes}`, [1, 1, ring, lanes], () => 1)
        : undefined,
    held:
      rowsPerGroup === undefined ? undefined : graph.input(`held.${name}`, 'float32', ['B', 1, 1, memoryRows(name)]),
    own: Object.fromEntries(own),
    open: new Map(),
  };
}

/** The name of a layer's S after the `endingSteps` [any,M,X,Y]. */
export function laterSumsName(layer: number): string {
  return `later.${layer}`;
}

/** The name of an input that a kind declares, in layout ℓ: "member.ring" is `member.ℓ.ring`. */
export function slotInputName(input: string, layout: string): string {
  const [head, ...rest] = input.split('.');
  return [head, layout, ...rest].join('.');
}

/** The name of a layout's open rows, for M matrices each. */
export function openInputName(layout: string, M: number): string {
  return `open.${layout}.${M}`;
}

/** A product with fewer columns sums in another order. */
const leastLanes = 16;

/**
 * Columns of a product that sums weights in order: as many as the sums of values it then divides; next to a ring the
 * fewest, for the longest stretch.
 */
function sumLanes({ layers }: ModelLayout, slots: SlotLayout): number {
  if (slots.ring !== undefined && slots.open === 'block') return leastLanes;
  const widths = new Set(slots.layers.map((layer) => layers[layer].values).map(({ width, parts }) => width / parts));
  return Math.max(leastLanes, ...(widths.size === 1 ? widths : []));
}

/** The name of a layout's `OpenRows.ones`. */
export function onesInputName(layout: string): string {
  return `ones.${layout}`;
}

/** A layout's S, the rows of its memory, as a dimension. */
function memoryRows(layout: string): string {
  return `S${layout}`;
}

function declareState(
  graph: Graph,
  { layers }: ModelLayout,
  layer: number,
  { ring, tree, held, own, open, ones, onesOfRing }: SlotValues,
): Pick<StepInput, 'ring' | 'treeMasks' | 'open' | 'sums' | 'memory' | 'inputs'> {
  const { slots, heads: M, keys, values, sums } = layers[layer];
  const P = values.parts;
  const E = values.width / P;
  const rows = (name: string, count: Dim, width: number, matrices = M): Value =>
    graph.input(`${name}.${layer}`, 'float32', ['B', matrices, count, width]);
  const C = slots.ring ?? 'C';
  const S = memoryRows(slots.name);
  const inRing = (name: string, width: number, matrices?: number): Value =>
    // A list if they are read only by number.
    slots.open === 'whole' || (slots.open === undefined && slots.inputs?.sumsOf !== undefined)
      ? graph.input(`${name}.${layer}`, 'float32', [multiplyDims('B', M, C), width])
      : rows(name, C, width, matrices);
  const inParts = (held: Value): Value => (P === 1 ? held : reshape(held, ['B', M, P, held.shape[2], E]));
  const [ringKeys, ringValues] = [inRing('keys', keys.width), inRing('values', E, M * P)];
  let opened: OpenRows | undefined;
  if (slots.open !== undefined && ones !== undefined) {
    const pick = (held: Value, matrices: number, width: number): Value => {
      const name = openInputName(slots.name, matrices);
      const index = open.get(matrices) ?? graph.input(name, 'int32', ['B', matrices, openRows(slots.name)]);
      open.set(matrices, index);
      return gather(reshape(held, [multiplyDims('B', matrices, C), width]), index);
    };
    opened = {
      keys: pick(ringKeys, M, keys.width),
      values: inParts(pick(ringValues, M * P, E)),
      whole: slots.open === 'whole',
      ones,
      onesOfRing,
    };
  }
  return {
    ring: { keys: ringKeys, values: inParts(ringValues), masks: ring },
    treeMasks: tree,
    open: opened,
    sums: sums && graph.input(`sums.${layer}`, 'float32', [countOfSums(slots), M, ...sums]),
    memory: held && {
      held,
      keys: rows('memory.keys', S, keys.width),
      values: rows('memory.values', S, values.width),
    },
    inputs: own,
  };
}

/** Shapes of layer `layer`'s memory of an encoded text, without the batch; `m` is the text's length. */
export function crossShapes(
  { mixers }: CrossAttention,
  { sizes }: AutoregressiveModel,
  layer: number,
): Readonly<Record<string, Dim[]>> {
  return crossForm(mixers[layer]).tensors(mixers[layer], { ...sizes, valueWidth: valueWidth(sizes) });
}

/** Attention to the encoded text: q [B,T,H,D] → [B,T,H,E], with a row of zeros in front, so that no row is alone (`HeadLayout`). */
function readEncoded(model: AutoregressiveModel, source: ParameterSource, layer: number, q: Value): Value {
  const { cross, sizes } = model;
  if (cross === undefined) throw internalError('a model without an encoder reads no encoded text');
  const mixer = cross.mixers[layer];
  const memory = Object.entries(crossShapes(cross, model, layer)).map(([name, shape]): [string, Value] => [
    name,
    source.graph.input(`cross.${layer}.${name}`, 'float32', ['B', ...shape]),
  ]);
  const parameters = mixerParameterValues({ ...cross, sizes }, source, layer);
  const rows = pad(q, 1, 1, 0);
  return slice(crossForm(mixer).read(mixer, rows, Object.fromEntries(memory), parameters, scoringOf(model)), 1, 1);
}

/** The previous token's features for the nodes of trees: the parent's, or the state's for a root. */
function declareShifts(graph: Graph, { sizes: { shiftWidth: X = 0 } }: AutoregressiveModel) {
  if (X === 0) return undefined;
  const parents = graph.input('parents', 'int32', ['B', 'T']);
  const roots = graph.input('roots', 'float32', ['B', 'T', 1]);
  const given: Value[] = [];
  return {
    /** Each layer's features [B,T,X] for later tokens. */
    given,
    shift(layer: number, features: Value): Value {
      given[layer] = features;
      const previous = graph.input(`previous.${layer}`, 'float32', ['B', 1, X]);
      const ofParents = gather(reshape(features, [multiplyDims('B', 'T'), X]), parents); // [B,T,X]
      return add(mul(ofParents, sub(1, roots)), mul(previous, roots));
    },
  };
}
