/**
 * Window attention over token trees. Rows of the window and the sinks, in the ring and the tree, are scored one by one.
 * Older rows are in S; rows that the tree has moved the window past but that are not folded yet are weighed row by row, as
 * the memory would. A group is folded into S once it has left the window of every position that may still be read.
 *
 * The ring's rows are read in place: copying them next to the tree's costs more than a second product.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, div, exp, maximum, mul, sub } from '../../../graph/ops/elementwise.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { softmax } from '../../../graph/ops/normalization.ts';
import { logSum, max } from '../../../graph/ops/reduce.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { addDims, tensor } from '../../../graph/tensor.ts';
import { maskedScore, scoreBias } from '../../attention-mask.ts';
import type { HeadLayout } from '../../head-layout.ts';
import { ageNames, groupAges, declareGroupAges } from '../../group-ages.ts';
import { foldStart, spanOf, type SequenceStep } from '../../masks.ts';
import type { RecurrentForm, StepBlock, StepInput } from '../../mixer.ts';
import { biasOfRows } from '../../scoring.ts';
import { sinkOfNodes } from '../../sink-logits.ts';
import { ringState } from '../../state.ts';
import {
  addStepConvolution,
  nodeBlocks,
  type ScoredColumn,
  softmaxValues,
  type StepBlocks,
  weightedValues,
} from '../../step-blocks.ts';
import { featuresOf, isLearnedMap } from '../features/maps.ts';
import type { WindowMemory, WindowMixer } from './config.ts';
import { keyFeatures } from '../features/map-graph.ts';
import { countedValues, leastWeight, logDecay, type RememberedRow, weighedQueries } from './memory.ts';

/** Inputs for older rows: their slots and nodes, which nodes see which, and their ages. */
const olderNames = { slots: 'older', nodes: 'older.nodes', seen: 'older.seen', ages: 'older.age' } as const;

function decays({ memory }: WindowMixer): boolean {
  return memory !== null && memory.decay !== 'none';
}

/** Whether rows that have left the window wait for other groups to be folded: most steps then have such rows. */
function foldsLater({ group }: WindowMixer): boolean {
  return spanOf(group) > group;
}

export const windowRecurrent: RecurrentForm<WindowMixer> = {
  /** The ring of the window, the sinks, and S = Σ φ(k)ᵀ[v,1] of older positions: [M,F,E+1]. */
  state({ memory, ...config }, dims) {
    const { headWidth, valueWidth = headWidth } = dims;
    if (memory === null) return ringState(dims, config);
    const rows = featuresOf(memory.map, headWidth);
    const folded = { kind: 'sums', rows, columns: valueWidth + 1, span: spanOf(config.group) } as const;
    return ringState(dims, { ...config, folded });
  },
  step(config, input) {
    const { keys, values, ...blocks } = nodeBlocks(input);
    const { memory } = config;
    const inBlocks = foldsLater(config) && input.open !== undefined;
    const rows = (): OlderRows[] => {
      if (input.withinFolds) return [];
      return inBlocks ? olderInBlocks(input, blocks.all) : [listedRows(input, blocks.all[0], { keys, values })];
    };
    const older = memory === null ? undefined : rememberedRow(memory, input, rows());
    const sink = sinkOfNodes(input.heads, input.parameters);
    const columns = [older, sink && { score: sink }].filter((column) => column !== undefined);
    return { mixed: addStepConvolution(mixedRows(config, input, blocks, columns), input, blocks.all), keys, values };
  },
  /** S ← γ^groups S + Σ γ^age φ(k)ᵀ[v,1] over rows of groups that leave the window. */
  fold: {
    shareAs: ({ memory }) =>
      memory === null || isLearnedMap(memory.map) || memory.decay !== 'none' ? null : memory.map.name,
    readsAges: decays,
    fold({ memory }, input) {
      if (memory === null) throw internalError('a fold without a memory');
      const { keys, values, sums, parameters, ages } = input;
      const [X, n, D] = keys.shape;
      const outer = isLearnedMap(memory.map) ? [1, X] : [X, 1]; // sequences and heads, as feature maps want them
      const features = keyFeatures(memory.map, reshape(keys, [...outer, n, D]), input);
      const rows = reshape(features, [X, n, features.shape[3]]);
      const decay = logDecay(memory, keys, Number(X), parameters);
      if (decay === undefined || ages === undefined) {
        return add(sums, matmul(rows, countedValues(values), { transposeA: true }));
      }
      const factor = (age: Value): Value => exp(mul(reshape(decay, [X, 1, 1]), age));
      const aged = mul(rows, factor(reshape(ages.rows, [n, 1])));
      return add(mul(sums, factor(ages.groups)), matmul(aged, countedValues(values), { transposeA: true }));
    },
  },
  inputs: {
    tag: (config) => (config.memory === null ? '' : decays(config) ? 'md' : 'm'),
    declare(config, { slots, treeRows, opens, withinFolds }, named) {
      if (config.memory === null || withinFolds) return {};
      const [older, nodes] = [named('U'), named('N')];
      const list = (length: string) => ({ dtype: 'int32' as const, shape: [length] });
      const rows = { [olderNames.slots]: list(older) };
      const ages = decays(config) ? declareGroupAges(slots, treeRows) : {};
      if (opens && foldsLater(config)) return ages;
      // Without open rows, gathers the same from the masks, as exports of earlier versions do.
      if (!opens) return { ...rows, ...ages };
      const ofRows = { dtype: 'float32' as const, shape: ['B', 1, 'T', addDims(older, nodes)] };
      const seen = { ...rows, [olderNames.nodes]: list(nodes), [olderNames.seen]: ofRows };
      return decays(config) ? { ...seen, [olderNames.ages]: ofRows, [ageNames.sums]: ages[ageNames.sums] } : seen;
    },
    feeds(config, steps, nodes, slots) {
      const lists = olderLists(config, steps, nodes);
      const { seen, ages } = olderRows(config, steps, nodes, lists);
      const shape = [steps.length, 1, nodes, lists.slots.length + lists.nodes.length];
      const older = {
        [olderNames.slots]: tensor('int32', [lists.slots.length], lists.slots),
        [olderNames.nodes]: tensor('int32', [lists.nodes.length], lists.nodes),
        [olderNames.seen]: tensor('float32', shape, seen),
      };
      if (!decays(config)) return older;
      return { ...older, [olderNames.ages]: tensor('float32', shape, ages), ...groupAges(config, steps, nodes, slots) };
    },
  },
  sameBits: ({ memory }) => (memory === null ? 'open rows' : 'logarithms of open rows'),
  scoreWidth: (config, { headWidth }) =>
    config.memory !== null && foldsLater(config)
      ? Math.max(headWidth, featuresOf(config.memory.map, headWidth))
      : headWidth,
};

/** The rows' positions: the ring's, or the open list's if all its rows are open. */
function ringPositions({ slotPositions, open }: SequenceStep): Int32Array {
  return slotPositions.length === 0 && open !== undefined ? open.positions : slotPositions;
}

/** Unfolded ring slots and nodes of all sequences. */
interface OlderLists {
  readonly slots: Int32Array;
  readonly nodes: Int32Array;
}

/**
 * The rows that some node's window has moved past; masks say who reads which. At least one slot, so that no tensor is
 * empty; no nodes if a tree stays within a group.
 */
function olderLists(config: WindowMixer, steps: readonly SequenceStep[], T: number): OlderLists {
  const older = new Set<number>();
  let nodes = 0;
  for (const step of steps) {
    const { tree, committed } = step;
    const folded = Math.max(foldStart(committed, { ...config, span: spanOf(config.group) }), config.sinks);
    const end = foldStart(committed + tree.depths.reduce((most, depth) => Math.max(most, depth), 0), config);
    if (end <= folded) continue;
    if (end > committed) nodes = T;
    ringPositions(step).forEach((position, slot) => {
      if (position >= folded && position < end) older.add(slot);
    });
  }
  return {
    slots: Int32Array.from(older.size === 0 ? [0] : older).sort(),
    nodes: Int32Array.from({ length: nodes }, (_, node) => node),
  };
}

/** The older rows and nodes that each node's window has moved past, and how many groups ago: [B,T,U+N] each. */
function olderRows(
  config: WindowMixer,
  steps: readonly SequenceStep[],
  nodes: number,
  { slots, nodes: listed }: OlderLists,
): { readonly seen: Float32Array; readonly ages: Float32Array } {
  const columns = slots.length + listed.length;
  const seen = new Float32Array(steps.length * nodes * columns);
  const ages = new Float32Array(seen.length);
  steps.forEach((step, b) => {
    const { tree, committed, rule } = step;
    const positions = ringPositions(step);
    tree.depths.forEach((depth, node) => {
      const first = foldStart(committed + depth, config);
      const folded = Math.max(config.sinks, rule?.seesClosedGroups === false ? first : foldStart(committed, config));
      if (first <= folded) return;
      const mark = (column: number, position: number, end: number): void => {
        // None either if there is no such slot.
        if (!(position >= folded && position < Math.min(first, end))) return;
        const at = (b * nodes + node) * columns + column;
        seen[at] = 1;
        ages[at] = (first - (position - (position % config.group))) / config.group - 1;
      };
      slots.forEach((slot, column) => {
        mark(column, positions[slot], committed);
      });
      for (const other of listed.subarray(0, tree.size)) {
        if (tree.isAncestorOrSelf(node, other)) mark(slots.length + other, committed + tree.depths[other], Infinity);
      }
    });
  });
  return { seen, ages };
}

/** Most ring slots whose weights are summed in one stretch with the open rows' and a tree's (docs/verify.md). */
const mostInStretch = 368;

/** One softmax over the columns [ring | memory and sink | tree]. */
function mixedRows(
  { sinks }: WindowMixer,
  input: StepInput,
  { ring, tree, all: blocks }: StepBlocks,
  columns: readonly ScoredColumn[],
): Value {
  const { open } = input;
  const ofTree = scoresOf(input, input.heads, tree.keys);
  const ofRing = ring === undefined ? [] : scoresOfRing(sinks, input);
  const biases = blocks.map((block) => biasOf(block, input)); // [B,1 or M,R*T,rows]
  const C = Number(ring?.keys.shape[2] ?? Number.POSITIVE_INFINITY);
  if (C > mostInStretch) {
    const scores = [...(ofRing.length === 0 ? [] : [concat(ofRing, 3)]), ofTree];
    const masked = scores.map((score, i) => add(score, biases[i]));
    return softmaxValues(input, blocks, masked, columns);
  }
  const [ringBias, treeBias] = biases;
  const unbiased = mul(slice(ringBias, 3, 0, 1), 0);
  const all = add(
    concat([...ofRing, ...columns.map(({ score }) => score), ofTree], 3),
    concat([ringBias, ...columns.map(() => unbiased), treeBias], 3),
  );
  const weights = open === undefined ? softmax(all) : exp(sub(all, max(all, [-1], true)));
  const apart = columns.flatMap(({ value }, i) =>
    value === undefined ? [] : [mul(value, slice(weights, 3, C + i, C + i + 1))],
  );
  const ofBlocks = [slice(weights, 3, 0, C), slice(weights, 3, C + columns.length)];
  const mixed = addAll([...apart, weightedValues(blocks, ofBlocks)]);
  if (open?.onesOfRing === undefined) return mixed;
  const { onesOfRing, ones } = open;
  const others = columns.length === 0 ? [] : [slice(onesOfRing, 2, 0, columns.length)];
  return div(mixed, slice(matmul(weights, concat([onesOfRing, ...others, ones], 2)), 3, 0, 1));
}

function scoresOf({ scoring }: StepInput, { joined }: HeadLayout, keys: Value): Value {
  return mul(matmul(joined, keys, { transposeB: true }), scoring.scale);
}

/** Score [B,M,R·T,1] and value [B,M,R·T,E] of everything older than the window. */
function rememberedRow(memory: WindowMemory, input: StepInput, rows: readonly OlderRows[]): RememberedRow {
  const E = Number(input.v.shape[3]);
  const [weighted, total] = split(olderSums(memory, input, rows), -1, [E, 1]);
  // If nothing is older, the logarithm of 0 becomes a masked row's score.
  return { score: maximum(logSum(total, [-1], true), maskedScore), value: div(weighted, maximum(total, leastWeight)) };
}

/** The ring rows' scores, in parts: sinks use their own form of the queries. */
function scoresOfRing(sinks: number, input: StepInput): Value[] {
  const { heads, far, ring } = input;
  const all = scoresOf(input, heads, ring.keys);
  if (far === undefined || sinks === 0) return [all];
  // Gathered: slicing an inner axis takes three times as long.
  const places = ring.keys.graph.sharedConstant(`sinks ${sinks}`, () =>
    tensor(
      'int32',
      [sinks],
      Int32Array.from({ length: sinks }, (_, i) => i),
    ),
  );
  return [scoresOf(input, heads.of(far), gather(ring.keys, places, 2)), slice(all, 3, sinks)];
}

/** Row scores' additive bias: `maskedScore` for hidden rows, and the model's bias by distance. */
function biasOf({ masks }: StepBlock, { heads, scoring: { bias }, horizon }: StepInput): Value {
  const masked = heads.tile(scoreBias(masks.same));
  return bias === undefined ? masked : add(masked, biasOfRows(bias, masks.offsets, horizon.reach, heads));
}

/** Rows, some older than their nodes' windows and not folded. */
interface OlderRows extends Pick<StepBlock, 'keys' | 'values'> {
  /** float32 0/1 [B,1,T,rows]: the older ones. */
  readonly seen: Value;
  /** [B,1,T,rows]; only if the memory decays. */
  readonly age?: Value;
}

/**
 * All rows of blocks, if most steps have older ones: a list of them would be summed in another order in the ring than in
 * the tree.
 */
function olderInBlocks({ inputs }: StepInput, blocks: readonly StepBlock[]): OlderRows[] {
  const declared: Readonly<Record<string, Value | undefined>> = inputs;
  const names = [ageNames.ring, ageNames.tree].slice(-blocks.length);
  return blocks.map(({ masks, ...rows }, i) => ({ ...rows, seen: masks.earlier, age: declared[names[i]] }));
}

/** The listed rows. @param ringRows the rows that `older` lists */
function listedRows(
  { inputs, ring, treeMasks }: StepInput,
  ringRows: StepBlock,
  nodes: Pick<StepBlock, 'keys' | 'values'>,
): OlderRows {
  const declared: Readonly<Record<string, Value | undefined>> = inputs;
  const listed = declared[olderNames.nodes];
  const [age, ofRing, ofTree] = [olderNames.ages, ageNames.ring, ageNames.tree].map((name) => declared[name]);
  const besides = (inRing: Value, ofNodes: Value, axis = 3): Value =>
    concat([gather(inRing, inputs[olderNames.slots], axis), ofNodes], axis);
  const rows = (part: 'keys' | 'values'): Value =>
    besides(ringRows[part], listed === undefined ? nodes[part] : gather(nodes[part], listed, 2), 2); // U + N rows
  return {
    keys: rows('keys'),
    values: rows('values'),
    seen: declared[olderNames.seen] ?? besides(ring.masks.earlier, treeMasks.earlier),
    age: age ?? (ofRing && ofTree && besides(ofRing, ofTree)),
  };
}

/** Σ w_j [v_j, 1] over positions older than each node's window: [B,M,R·T,E+1]. */
function olderSums(memory: WindowMemory, input: StepInput, rows: readonly OlderRows[]): Value {
  const { heads, sums, parameters, inputs } = input;
  if (sums === undefined) throw internalError('a state without the sums of the memory');
  const M = Number(heads.queries.shape[1]);
  const map = (own: Value): Value => weighedQueries(memory, own, input);
  const queries = heads.mapped(map, isLearnedMap(memory.map)); // [B,M,R*T,F]
  const decay = logDecay(memory, queries, M, parameters);
  const aged = (terms: Value, age: Value | undefined): Value =>
    decay === undefined || age === undefined ? terms : mul(terms, exp(mul(reshape(decay, [M, 1, 1]), heads.tile(age))));
  const read = aged(matmul(queries, sums), decay && inputs[ageNames.sums]); // [B,M,R*T,E+1]
  const ofRows = rows.map(({ keys, values, seen, age }) => {
    const products = matmul(queries, keyFeatures(memory.map, keys, input), { transposeB: true }); // [B,M,R*T,rows]
    return matmul(aged(mul(products, heads.tile(seen)), age), countedValues(values));
  });
  return addAll([read, ...ofRows]);
}
