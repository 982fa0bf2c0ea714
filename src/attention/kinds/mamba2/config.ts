/** Mamba-2's configuration, and the values both of its forms compute from its input. */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { add, exp, maximum, minimum, mul, neg, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, split, transpose } from '../../../graph/ops/layout.ts';
import { learnedParameter } from '../../attention-layer.ts';
import type { AttentionDims, MixerParameter, MixerParameterValues, ProjectedPositions } from '../../mixer.ts';
import { groupSchema } from '../../preset.ts';
import { softplus } from '../gated/decay.ts';
import { onByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

const count = whole(1, 65_536);

export const mamba2Schema = z
  .strictObject({
    kind: z.literal('mamba2'),
    /** H. */
    heads: count,
    /** P: channels of a head. */
    headWidth: count,
    /** N: width of B and C. */
    state: count,
    /** Γ: groups of R = H/Γ heads; each group has its own B and C. */
    groups: count.default(1),
    /** L: positions under the filters, including the current one. */
    kernel: whole(1, 64).default(4),
    /** Whether the filters have biases. */
    bias: onByDefault,
    /** Smallest and largest dt; null: unbounded. */
    least: z.number().min(0).default(0),
    most: positiveNumber.nullable().default(null),
    /** Positions between two updates of the state. The result does not depend on it. */
    group: groupSchema.default(64),
  })
  .refine(({ heads, groups }) => heads % groups === 0, { message: 'groups must divide heads', path: ['groups'] });

/** Mamba-2. */
export type Mamba2Mixer = z.infer<typeof mamba2Schema>;

export const mamba2FilterName = 'conv1d.weight';
export const filterBiasName = 'conv1d.bias';
export const logRateName = 'A_log';
export const stepBiasName = 'dt_bias';
export const skipName = 'D';

/** Γ "heads": queries [C, dt] and keys [B, dt] of N + R numbers, values of R heads. */
export function mamba2Dims({ heads, headWidth, state, groups }: Mamba2Mixer): AttentionDims {
  const repeat = heads / groups;
  return { heads: groups, keyValueHeads: groups, headWidth: state + repeat, valueWidth: repeat * headWidth };
}

/** Channels under the filters: x of all heads, B and C of all groups. */
export function mamba2Channels({ heads, headWidth, state, groups }: Omit<Mamba2Mixer, 'kind'>): readonly number[] {
  return [heads * headWidth, groups * state, groups * state];
}

export function mamba2Parameters(config: Mamba2Mixer): MixerParameter[] {
  const channels = mamba2Channels(config).reduce((a, b) => a + b);
  const perHead = [config.heads];
  return [
    { name: mamba2FilterName, shape: [channels, 1, config.kernel], init: 'means' },
    ...(config.bias ? [{ name: filterBiasName, shape: [channels], init: 'zeros' } as const] : []),
    { name: logRateName, shape: perHead, init: 'slopes' },
    { name: stepBiasName, shape: perHead, init: 'ones' },
    { name: skipName, shape: perHead, init: 'ones' },
  ];
}

/** "Mamba-2 of 48×32, N = 128, convolution 4, G = 16". */
export function describeMamba2({ heads, headWidth, state, groups, kernel, group }: Mamba2Mixer): string {
  const shared = groups === 1 ? '' : ` in ${groups} groups`;
  return `Mamba-2 of ${heads}×${headWidth}${shared}, N = ${state}, convolution ${kernel}, G = ${group}`;
}

/** The rows under the filters (x, B and C), group by group: [B,n,Γ,RP+2N]. */
export function joinedRows(config: Mamba2Mixer, { q, k, v }: ProjectedPositions): Value {
  return concat([v, withStep(config, k)[0], withStep(config, q)[0]], 3);
}

/** Splits rows [B, dt] or [C, dt] into [B,n,Γ,N] and [B,n,Γ,R]. */
function withStep({ heads, groups, state: N }: Mamba2Mixer, rows: Value): readonly Value[] {
  return split(rows, 3, [N, heads / groups]);
}

/**
 * Filters or their biases by group, in the order of `joinedRows`. @param perChannel [channels,1,L] or [channels] → [L or
 * 1,Γ,RP+2N]
 */
function byGroup(config: Mamba2Mixer, perChannel: Value): Value {
  const sizes = mamba2Channels(config);
  const L = Number(perChannel.shape[2] ?? 1);
  const rows = transpose(reshape(perChannel, [sizes.reduce((a, b) => a + b), L]), [1, 0]);
  const parts = split(rows, 1, sizes).map((part, i) => reshape(part, [L, config.groups, sizes[i] / config.groups]));
  return concat(parts, 2);
}

/** The filters [L,Γ,RP+2N]. */
export function groupedFilters(config: Mamba2Mixer, parameters: MixerParameterValues): Value {
  return byGroup(config, learnedParameter(parameters, mamba2FilterName));
}

/** The recurrence's input at every position. */
export interface Mamba2Rows {
  /** x [B,n,H,P] */
  readonly x: Value;
  /** dt·x [B,n,H,P] */
  readonly values: Value;
  /** B [B,n,Γ,N] */
  readonly keys: Value;
  /** C [B,n,Γ,N] */
  readonly queries: Value;
  /** g = −e^A·dt [B,n,H,1] */
  readonly decays: Value;
}

/**
 * @param rows the filtered `joinedRows`, without biases
 * @param softplusOf softplus(x + bias) of x [B,n,H,1] and bias [H]. Default: differentiable ops
 */
export function mamba2Rows(
  config: Mamba2Mixer,
  { q, parameters }: Pick<ProjectedPositions, 'q'> & { readonly parameters: MixerParameterValues },
  rows: Value,
  softplusOf = (given: Value, bias: Value): Value => softplus(add(given, reshape(bias, [config.heads, 1]))),
): Mamba2Rows {
  const { heads: H, headWidth: P, state: N, groups, least, most } = config;
  const [B, n] = q.shape;
  const bias = parameters[filterBiasName];
  const open = silu(bias === undefined ? rows : add(rows, byGroup(config, bias)));
  const [xs, keys, queries] = split(open, 3, [(H / groups) * P, N, N]);
  const x = reshape(xs, [B, n, H, P]);
  const given = reshape(withStep(config, q)[1], [B, n, H, 1]);
  let dt = softplusOf(given, learnedParameter(parameters, stepBiasName));
  if (least > 0) dt = maximum(dt, least);
  if (most !== null) dt = minimum(dt, most);
  const rates = neg(exp(reshape(learnedParameter(parameters, logRateName), [H, 1])));
  return { x, values: mul(x, dt), keys, queries, decays: mul(dt, rates) };
}

/** The skip D ⊙ x. @param x [...,H,P] */
export function skipped(x: Value, parameters: MixerParameterValues): Value {
  const skip = learnedParameter(parameters, skipName);
  return mul(x, reshape(skip, [skip.shape[0], 1]));
}
