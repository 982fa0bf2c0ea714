/**
 * How a position decays the past: its log decay g ≤ 0 per key-value head. Position j's weight at position t is multiplied
 * by e^(Σ g_i), i from j + 1 to t.
 *
 * - `none`: g = 0.
 * - `fixed`: −2^(−8(m+1)/M) for key-value head m of M, as in Lightning attention and RetNet: some heads forget in a few
 *   positions, some in hundreds.
 * - `learned`: −e^r with a learned r per key-value head.
 * - `data`: −e^r·softplus(⟨w, v_t⟩)/ln 2, with r and w learned. With its initial w = 0 it equals `learned`. Values, not
 *   keys, drive the gate: they are a linear map of the hidden state that rotary positions do not turn.
 */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { matmul, sum } from '../../../graph/ops/contraction.ts';
import { add, cast, div, exp, greater, log, maximum, minimum, mul, neg, sub } from '../../../graph/ops/elementwise.ts';
import { pad, reshape, slice, transpose } from '../../../graph/ops/layout.ts';
import { cumulativeSum } from '../../../graph/ops/recurrence.ts';
import { stopGradient } from '../../../graph/ops/surrogate-gradient.ts';
import { tensor } from '../../../graph/tensor.ts';
import type { Grouping } from '../../grouping.ts';
import { emptySlot, foldStart, openCount } from '../../masks.ts';
import type {
  AttentionDims,
  LayoutInputs,
  MixerConfig,
  MixerParameter,
  MixerParameterValues,
  StepInput,
} from '../../mixer.ts';
import { dot, type ReferencePositions } from '../../reference.ts';
import { fixedDecay } from '../window/config.ts';
import { learnedParameter } from '../../attention-layer.ts';

export const decaySchema = z.enum(['none', 'fixed', 'learned', 'data']);
export type Decay = z.infer<typeof decaySchema>;

/** r, per key-value head [M]. */
const rateName = 'decay_rate';
/** w, per key-value head [M,E]. */
const gateName = 'decay_gate';

/** Largest argument of the softplus: caps the decay, and keeps e^x far from float32's limit. */
const largestGate = 60;

export function decayParameters(decay: Decay, dims: AttentionDims): MixerParameter[] {
  const { keyValueHeads, headWidth, valueWidth = headWidth } = dims;
  const rate: MixerParameter = { name: rateName, shape: [keyValueHeads], init: 'slopes' };
  const gate: MixerParameter = { name: gateName, shape: [keyValueHeads, valueWidth], init: 'zeros' };
  return { none: [], fixed: [], learned: [rate], data: [rate, gate] }[decay];
}

/** "learned decay". */
export function describeDecay(decay: Decay): string {
  return { none: 'no decay', fixed: 'fixed decay', learned: 'learned decay', data: 'decay by data' }[decay];
}

/** Less than the distance from 1 to the next float32. */
const leastStep = 2 ** -24;

/** ln(1 + eˣ) for x up to `largestGate`. The factor, 1 except for rounding, restores the digits of a small eˣ that 1 + eˣ loses. */
export function softplus(x: Value): Value {
  const grown = exp(minimum(x, largestGate));
  const above = add(grown, 1);
  return mul(log(above), stopGradient(div(grown, maximum(sub(above, 1), leastStep))));
}

/** `softplus` in float64. */
export function softplusOf(x: number): number {
  return Math.log1p(Math.exp(Math.min(largestGate, x)));
}

/**
 * Every position's g [B,n,M,1].
 * @param v [B,n,M,E]; B and n may be named dimensions
 * @param softplusOf a function of rows [B,n,M,1]. Default: `softplus`
 */
export function logDecays(decay: Decay, v: Value, parameters: MixerParameterValues, softplusOf = softplus): Value {
  const M = Number(v.shape[2]);
  const rates = (): Value => neg(exp(reshape(learnedParameter(parameters, rateName), [M, 1])));
  if (decay === 'data') {
    const gates = sum(mul(v, learnedParameter(parameters, gateName)), [-1], true);
    return mul(softplusOf(gates), mul(rates(), 1 / Math.LN2));
  }
  const none = mul(slice(v, 3, 0, 1), 0);
  if (decay === 'none') return none;
  if (decay === 'learned') return add(none, rates());
  const decays = fixedDecay(M);
  return add(
    none,
    v.graph.sharedNumbers(`fixed log decays ${M}`, [M, 1], (head) => decays[head]),
  );
}

/** A key-value head's g at every position, in float64: [n]. */
export function referenceLogDecays(decay: Decay, positions: ReferencePositions, kvHead: number): Float64Array {
  const E = positions.valueWidth;
  const { keyValueHeads } = positions.input.dims;
  const rate = (): number => -Math.exp(positions.parameter(rateName)[kvHead]);
  const gateOf = (position: number): number => {
    const gate = positions.parameter(gateName).subarray(kvHead * E, (kvHead + 1) * E);
    return softplusOf(dot(gate, positions.value(kvHead, position))) / Math.LN2;
  };
  const of: Readonly<Record<Decay, (position: number) => number>> = {
    none: () => 0,
    fixed: () => fixedDecay(keyValueHeads)[kvHead],
    learned: rate,
    data: (position) => rate() * gateOf(position),
  };
  return Float64Array.from({ length: positions.keyLength }, (_, position) => of[decay](position));
}

/** A triangle of ones [n,n]: column ≤ row, or column < row if strict. */
function triangle(like: Value, n: number, strict = false): Value {
  return like.graph.sharedNumbers(`${strict ? 'strict ' : ''}triangle ${n}`, [n, n], (i) =>
    i % n <= Math.floor(i / n) - (strict ? 1 : 0) ? 1 : 0,
  );
}

/** Σ g_i over j < i ≤ t, in row t and column j; 0 for j ≥ t. @param g [A,B,n,1] → [A,B,n,n] */
function sumsBetween(g: Value): Value {
  const [A, B, n] = g.shape.map(Number);
  const past = mul(reshape(g, [A, B, 1, n]), triangle(g, n));
  return cumulativeSum(past, 3, { exclusive: true, reverse: true });
}

/** Decays inside chunks, factors from 0 to 1. */
export interface ChunkDecays {
  /** From the end of position j to position t of the same chunk, 0 for j > t (with `strict`, j ≥ t): [M,B·N,G,G]. */
  readonly within: Value;
  /** From before the chunk to position t: [M,B·N,G,1]. */
  readonly fromStart: Value;
  /** From the end of position j to the end of the chunk: [M,B·N,G,1]. */
  readonly toEnd: Value;
  /** Over the whole chunk, as a logarithm: [M,B·N,1,1]. */
  readonly total: Value;
}

/** @param g log decays [M,B·N,G,1] @param strict positions do not read themselves */
export function chunkDecays(g: Value, strict = false): ChunkDecays {
  const G = Number(g.shape[2]);
  return {
    within: mul(exp(sumsBetween(g)), triangle(g, G, strict)),
    fromStart: exp(cumulativeSum(g, 2)),
    toEnd: exp(cumulativeSum(g, 2, { exclusive: true, reverse: true })),
    total: sum(g, [2], true),
  };
}

/**
 * The state before every chunk: the sum of earlier chunks' terms, decayed over the chunks between.
 * @param added [M,B·N,F,E]
 * @param total [M,B·N,1,1]
 * @returns [M,B·N,F,E]
 */
export function decayedSumsBefore(
  { batch: B, groups: N, keyValueHeads: M }: Grouping,
  added: Value,
  total: Value,
): Value {
  const [, , F, E] = added.shape.map(Number);
  const weights = mul(exp(sumsBetween(reshape(total, [M, B, N, 1]))), triangle(total, N)); // [M,B,N,N]
  const after = matmul(weights, reshape(added, [M, B, N, F * E]));
  return reshape(pad(slice(after, 2, 0, N - 1), 2, 1, 0), [M, B * N, F, E]);
}

type GroupedMixer = MixerConfig & { readonly group: number };

/** L − p for the ring's row at position p, 0 if the row is empty or folded: float32 [B,1,1,C]. */
const ageName = 'age.ring';

export const ageInputs: LayoutInputs<GroupedMixer> = {
  tag: () => 'a',
  declare: (_, { slots }) => ({ [ageName]: { dtype: 'float32', shape: ['B', 1, 1, slots] } }),
  feeds({ group }, steps, _, slots) {
    const ages = new Float32Array(steps.length * slots);
    steps.forEach(({ slotPositions, committed }, b) => {
      const folded = foldStart(committed, { group });
      slotPositions.forEach((position, slot) => {
        const isRead = position !== emptySlot && position >= folded && position < committed;
        if (isRead) ages[b * slots + slot] = committed - position;
      });
    });
    return { [ageName]: tensor('float32', [steps.length, 1, 1, slots], ages) };
  },
};

/** Decays in a step, factors from 0 to 1, per key-value head. */
export interface StepDecays {
  /** From a ring row to a node, 0 if the node does not read it: [B,M,T,C]. */
  readonly ring: Value;
  /** From node to node, 0 except from ancestors and itself: [B,M,T,T]. */
  readonly tree: Value;
  /** From the state S to a node: [B,M,T,1]. */
  readonly sums: Value;
}

/**
 * @param ringLogs g of the ring's rows [B,M,C,1]
 * @param treeLogs g of the nodes [B,M,T,1]
 */
export function stepDecays({ ring, treeMasks, inputs }: StepInput, ringLogs: Value, treeLogs: Value): StepDecays {
  const [B, M, C] = ringLogs.shape;
  const T = treeLogs.shape[2];
  const age = inputs[ageName]; // [B,1,1,C]
  const isRead = cast(greater(age, 0), 'float32');
  const isNewer = mul(cast(greater(reshape(age, [B, 1, C, 1]), age), 'float32'), isRead); // [B,1,C,C]
  const behind = reshape(matmul(isNewer, ringLogs), [B, M, 1, C]);
  const path = add(treeMasks.same, treeMasks.earlier); // [B,1,T,T]
  const toNode = matmul(path, treeLogs); // [B,M,T,1]
  // Between nodes on different branches the sum may be positive; those are masked, but must stay finite.
  const between = minimum(sub(toNode, reshape(toNode, [B, M, 1, T])), 0);
  return {
    ring: mul(exp(add(toNode, behind)), add(ring.masks.same, ring.masks.earlier)),
    tree: mul(exp(between), path),
    sums: exp(add(toNode, matmul(isRead, ringLogs))),
  };
}

/** 1 if a row, open or in the tree, is an open row or precedes it: float32 [B,1,U+T,U+T]; the tree's rows repeat its masks. */
const pathName = 'path.tree';

export const pathInputs: LayoutInputs<GroupedMixer> = {
  tag: () => 'a',
  declare: (config, dims, named) =>
    dims.opens
      ? { [pathName]: { dtype: 'float32', shape: ['B', 1, dims.treeRows, dims.treeRows] } }
      : ageInputs.declare(config, dims, named),
  feeds(config, steps, T, slots) {
    const U = openCount(steps);
    const n = U + T;
    const paths = new Float32Array(steps.length * n * n);
    for (const [b, { tree, committed, open }] of steps.entries()) {
      const start = foldStart(committed, config);
      const isRead = (column: number): boolean => (open?.positions[column] ?? emptySlot) >= start;
      for (let row = 0; row < n; row++) {
        const first = (b * n + row) * n;
        for (let column = 0; column < Math.min(row + 1, U); column++) if (isRead(column)) paths[first + column] = 1;
        if (row < U || row - U >= tree.size) continue;
        for (let node = 0; node < tree.size; node++) {
          paths[first + U + node] = tree.ancestors[(row - U) * tree.size + node];
        }
      }
    }
    return {
      [pathName]: tensor('float32', [steps.length, 1, n, n], paths),
      ...ageInputs.feeds(config, steps, T, slots),
    };
  },
};

/** Decays for every query of a matrix, factors from 0 to 1. */
export interface OpenDecays {
  /** From an open or tree row to the node: [B,M,R·T,U+T]. */
  readonly rows: Value;
  /** From the state S to the node: [B,M,R·T,1]. */
  readonly sums: Value;
}

/** A product with fewer columns sums in another order. */
const leastColumns = 16;

/**
 * Decays as differences of sums from the start of the group, each summed in order of position.
 * @param logs g of the open rows and the nodes [B,U+T,M]
 */
export function openDecays({ heads, treeMasks, inputs }: StepInput, logs: Value): OpenDecays {
  const [B, n, M] = logs.shape;
  const columns = pad(reshape(logs, [B, 1, n, M]), 3, 0, Math.max(0, leastColumns - Number(M)));
  const along = (paths: Value): Value => slice(matmul(paths, columns), 3, 0, Number(M)); // [B,1,rows,M]
  const seen = heads.tile(add(treeMasks.same, treeMasks.earlier));
  const toNode = transpose(along(seen), [0, 3, 2, 1]); // [B,M,R*T,1]
  const toRow = transpose(along(inputs[pathName]), [0, 3, 1, 2]); // [B,M,1,n]
  // Between branches the difference may be positive; those are masked, but must stay finite.
  const between = minimum(sub(toNode, toRow), 0);
  return { rows: mul(exp(between), seen), sums: exp(toNode) };
}
