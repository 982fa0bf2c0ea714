/** Configuration of Gated DeltaNet: sizes, filters, decays and gates. */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { broadcastTo } from '../../../graph/ops/contraction.ts';
import { add, div, exp, maximum, mul, neg } from '../../../graph/ops/elementwise.ts';
import { reshape, split, transpose } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { deltaGates, type RecurrenceRows } from '../../../graph/ops/recurrence.ts';
import { learnedParameter } from '../../attention-layer.ts';
import type { HeadCounts, MixerParameter, MixerParameterValues } from '../../mixer.ts';
import { groupSchema } from '../../preset.ts';
import { softplus } from '../gated/decay.ts';
import { whole } from '../../../files/schema-values.ts';

const count = whole(1, 65_536);

export const deltaNetSchema = z
  .strictObject({
    kind: z.literal('delta-net'),
    /** Positions the ring holds before they are folded. It sizes the state; the result does not depend on it. */
    group: groupSchema.default(16),
    /** Value heads, each with a state [keyWidth,valueWidth]. */
    heads: count,
    /** Query and key heads: value head j reads head ⌊j·keyHeads/heads⌋. */
    keyHeads: count,
    keyWidth: count,
    valueWidth: count,
    /** K: positions under the filters of queries, keys and values, including the current one. */
    kernel: whole(1, 64).default(4),
    /** β is 2σ(b), not σ(b): a state can change sign along a key. */
    doubled: z.literal(true).optional(),
    /** Queries, keys and values have separate filter parameters. */
    apart: z.literal(true).optional(),
  })
  .refine(({ heads, keyHeads }) => heads % keyHeads === 0, {
    message: 'the heads of values must be a multiple of the heads of keys',
    path: ['heads'],
  });

/** Gated DeltaNet. */
export type DeltaNetMixer = z.infer<typeof deltaNetSchema>;

/** Names of the filters [channels,1,K]: for queries, keys and values, or one for all; index K − 1 weighs the current position. */
export function filterNames({ apart }: DeltaNetMixer): readonly string[] {
  return apart === true ? ['q', 'k', 'v'].map((part) => `${part}_conv1d.weight`) : ['conv1d.weight'];
}
/** ln of the decay rate [heads]. */
export const rateName = 'A_log';
/** Added to a before the softplus [heads]. */
export const decayBiasName = 'dt_bias';
/** ε under the root in the length of queries and keys. */
export const lengthEpsilon = 1e-6;

export function deltaNetParameters(config: DeltaNetMixer, { keyValueHeads: M }: HeadCounts): MixerParameter[] {
  const { keyHeads, keyWidth, valueWidth, kernel, apart } = config;
  const parts = [keyHeads * keyWidth, keyHeads * keyWidth, M * valueWidth];
  const channels = apart === true ? parts : [parts.reduce((a, b) => a + b)];
  return [
    ...filterNames(config).map((name, i) => ({ name, shape: [channels[i], 1, kernel], init: 'means' as const })),
    { name: rateName, shape: [M], init: 'slopes' },
    { name: decayBiasName, shape: [M], init: 'ones' },
  ];
}

/** Key heads' rows [...,keyHeads,X] as the value heads read them: [...,heads,X]. */
export function forValueHeads({ heads, keyHeads }: DeltaNetMixer, rows: Value): Value {
  if (heads === keyHeads) return rows;
  const outer = rows.shape.slice(0, -2);
  const X = rows.shape[rows.rank - 1];
  const repeated = broadcastTo(reshape(rows, [...outer, keyHeads, 1, X]), [...outer, keyHeads, heads / keyHeads, X]);
  return reshape(repeated, [...outer, heads, X]);
}

/** The filters of queries, keys and values by index and head: [K,M,D], [K,M,D], [K,M,E]. */
export function filtersOf(config: DeltaNetMixer, parameters: MixerParameterValues): readonly Value[] {
  const { heads, keyHeads, keyWidth: D, valueWidth: E, kernel } = config;
  const filters = filterNames(config).map((name) => learnedParameter(parameters, name));
  const parts = filters.length > 1 ? filters : split(filters[0], 0, [keyHeads * D, keyHeads * D, heads * E]);
  return parts.map((part, i) => {
    const [count, width] = i < 2 ? [keyHeads, D] : [heads, E];
    const byIndex = reshape(transpose(reshape(part, [count * width, kernel]), [1, 0]), [kernel, count, width]);
    return i < 2 ? forValueHeads(config, byIndex) : byIndex;
  });
}

/**
 * x·σ(x). The runtime's sigmoid loses digits below zero, which the outputs' norm amplifies if a query and a key have a
 * small product.
 */
export function siluOf(x: Value): Value {
  return div(x, add(1, exp(neg(maximum(x, -80)))));
}

/** Rows [...,D] scaled to length 1, or 1/√D for queries. */
export function deltaNetLength(rows: Value, isQuery = false): Value {
  const D = Number(rows.shape[rows.rank - 1]);
  const size = 1 / Math.sqrt(D) / (isQuery ? Math.sqrt(D) : 1);
  const gain = rows.graph.sharedNumbers(`lengths ${size} of ${D}`, [D], () => size);
  return rmsNorm(rows, gain, lengthEpsilon / D);
}

/** g (see `deltaNetDecays`) and β of positions in one op: [B,n,M]. @param a and `b` [B,n,M,1] */
export function deltaNetNumbers(
  { doubled }: DeltaNetMixer,
  { a, b }: Record<'a' | 'b', Value>,
  parameters: MixerParameterValues,
): Pick<RecurrenceRows, 'logs' | 'gates'> {
  const [rate, bias] = [rateName, decayBiasName].map((name) => learnedParameter(parameters, name));
  const perHead = (numbers: Value): Value => reshape(numbers, numbers.shape.slice(0, 3));
  const [logs, gates] = deltaGates(perHead(a), bias, neg(exp(rate)), perHead(b));
  return { logs, gates: doubled === true ? mul(gates, 2) : gates };
}

/** Positions' g: a [B,n,M,1] → [B,n,M,1]. */
export function deltaNetDecays(a: Value, parameters: MixerParameterValues): Value {
  const [rate, bias] = [rateName, decayBiasName].map((name) => {
    const value = learnedParameter(parameters, name);
    return reshape(value, [value.shape[0], 1]);
  });
  return mul(softplus(add(a, bias)), neg(exp(rate)));
}
