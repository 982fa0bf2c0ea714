/**
 * FLASH's attention inside a gated attention unit (Hua et al., arXiv 2202.10447): configuration, rows, bias and scores'
 * weights.
 */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { add, erf, mul, relu } from '../../../graph/ops/elementwise.ts';
import { split } from '../../../graph/ops/layout.ts';
import { type BucketScheme, relativeBucket } from '../../../nn/relative-positions.ts';
import { convolutionField, withConvolution } from '../../convolution-config.ts';
import type { MixerConfig, MixerParameterValues } from '../../mixer.ts';
import { groupSchema } from '../../preset.ts';
import type { RelativeBias } from '../../scoring.ts';
import { type LinearMixer, linearSchema } from '../linear/config.ts';
import { offByDefault, onByDefault, positiveNumber } from '../../../files/schema-values.ts';

/** The kernels of a gated attention unit's own attention. */
const unitKernels = ['laplace', 'relu2', 'softmax'] as const;

export const gauSchema = z
  .strictObject({
    kind: z.literal('gau'),
    /** G; null: one group that never ends, so that every position reads its whole past row by row. */
    group: groupSchema.nullable().default(256),
    local: z
      .strictObject({
        /** Weight for a score s = q·k/divisor + bias/biasDivisor: `laplace` ½(1 + erf((s − √½)·√(2π))), `relu2` max(s, 0)². */
        kernel: z.enum(unitKernels).default('laplace'),
        /** Default G; required if groups never end. */
        divisor: positiveNumber.optional(),
        biasDivisor: positiveNumber.default(1),
      })
      .nullable()
      .default({ kernel: 'laplace', biasDivisor: 1 }),
    /** q·Σ kᵀv/G over earlier groups. */
    global: onByDefault,
    convolution: convolutionField,
    /** See the linear kind. */
    castling: offByDefault,
  })
  .refine((config) => config.local !== null || config.global || config.convolution !== null, {
    message: 'a gau mixer needs at least one branch: local, global or convolution',
  })
  .refine((config) => !config.castling || config.convolution !== null, {
    message: 'castling is defined together with a convolution: add convolution, or set castling to false',
    path: ['castling'],
  })
  .refine((config) => config.group !== null || !config.global, {
    message: 'group null has no earlier groups: set global to false',
    path: ['global'],
  })
  .refine((config) => config.group !== null || config.local === null || config.local.divisor !== undefined, {
    message: 'group null has no G to divide scores by: give local.divisor',
    path: ['local'],
  });

/** FLASH's attention: separate queries and keys per branch, a learned bias by distance, nothing normalized. */
export type GauMixer = z.infer<typeof gauSchema>;
export type UnitKernel = (typeof unitKernels)[number];

const kernelNames: Readonly<Record<UnitKernel, string>> = { laplace: 'laplace', relu2: 'relu²', softmax: 'softmax' };

/** "gau local laplace + global + convolution 63, G = 256". */
export function describeUnit({ group, local, global, castling, convolution }: GauMixer): string {
  const branches = [...(local === null ? [] : [`local ${kernelNames[local.kernel]}`]), ...(global ? ['global'] : [])];
  const attention = branches.join(' + ');
  const text = withConvolution(
    castling ? (attention === '' ? 'castling' : `castling (${attention})`) : attention,
    convolution,
  );
  return `gau ${text}${group === null ? ', one group' : branches.length > 0 ? `, G = ${group}` : ''}`;
}

/** G; infinite for a group that never ends. */
export function unitGroup({ group }: GauMixer): number {
  return group ?? Number.POSITIVE_INFINITY;
}

/** Divisors for q·k and for the bias in the local branch's scores. */
export function scoreDivisors({ local, group }: GauMixer): { readonly product: number; readonly bias: number } {
  return { product: local?.divisor ?? group ?? 1, bias: local?.biasDivisor ?? 1 };
}

/** The bias table's name; [32,1], shared by the heads. */
export const gauBiasTable = 'rel_pos_bias.relative_attention_bias.weight';

/** Rows of the bias table. */
export const biasBuckets = 32;

/** Distance beyond which all causal distances share a bucket. */
export const biasReach = 128;

/** T5's scheme with FLASH's numbers. */
function biasScheme(causal: boolean): BucketScheme {
  return { buckets: biasBuckets, farthest: biasReach, causal };
}

/** The bucket of a distance query − key. */
export function biasBucket(distance: number, causal: boolean): number {
  return relativeBucket(distance, biasScheme(causal));
}

/** √S · table / divisor as a bias by distance, for its single head; undefined without a table. */
export function unitBias(
  parameters: MixerParameterValues,
  queryKeyWidth: number,
  divisor: number,
  causal: boolean,
): RelativeBias | undefined {
  const table = parameters[gauBiasTable];
  if (table === undefined) return undefined;
  return { table: mul(mul(table, Math.sqrt(queryKeyWidth)), 1 / divisor), scheme: biasScheme(causal) };
}

/** One row per branch. A branch that the mixer lacks gets the other's row, which nothing reads. */
export interface BranchRows {
  readonly local: Value;
  readonly global: Value;
}

/** Rows [...,2S], local and global side by side, or [...,S] for a single branch. */
export function branchRows({ local, global }: GauMixer, rows: Value): BranchRows {
  if (local === null || !global) return { local: rows, global: rows };
  const S = Number(rows.shape[rows.rank - 1]) / 2;
  const [localRows, globalRows] = split(rows, rows.rank - 1, [S, S]);
  return { local: localRows, global: globalRows };
}

/** Width of a row: S, or 2S with both branches. */
export function unitRowWidth({ local, global }: GauMixer, S: number): number {
  return local !== null && global ? 2 * S : S;
}

/** Kernels that weigh every key by itself; softmax weighs all keys of a query together. */
export type PointwiseKernel = Exclude<UnitKernel, 'softmax'>;

const kernels: Readonly<Record<PointwiseKernel, (scores: Value) => Value>> = {
  /** ½(1 + erf((s − √½)·√(2π))), a smooth stand-in for relu² (Ma et al., arXiv 2209.10655). */
  laplace(scores) {
    const slope = Math.sqrt(2 * Math.PI);
    return add(mul(erf(add(mul(scores, slope), -Math.SQRT1_2 * slope)), 0.5), 0.5);
  },
  relu2(scores) {
    const positive = relu(scores);
    return mul(positive, positive);
  },
};

/** φ of scores. Mask unseen keys after it: Laplace of 0 is not 0. */
export function unitWeights(kernel: PointwiseKernel, scores: Value): Value {
  return kernels[kernel](scores);
}

type Activation = NonNullable<GauMixer['local']>['kernel'];

/**
 * The form `mixer` takes in a unit. The linear kind's local and global branches become FLASH's own, with the model's
 * activation for relu² and without α, which FLASH lacks. A learned λ, norms and other kernels are not FLASH's; mixers with
 * them stay unchanged, as do all other kinds.
 */
export function unitForm(mixer: MixerConfig, activation: Activation): MixerConfig {
  const linear = linearSchema.safeParse(mixer);
  return linear.success && isFlash(linear.data) ? ownForm(linear.data, activation) : mixer;
}

function isFlash({ normalize, local }: LinearMixer): boolean {
  return normalize === null && (local === null || (local.kernel === 'relu2' && local.scale !== 'learned'));
}

function ownForm({ group, local, global, convolution, castling }: LinearMixer, activation: Activation): GauMixer {
  return gauSchema.parse({
    kind: 'gau',
    group,
    local: local === null ? null : { kernel: activation },
    global: global !== null,
    convolution,
    castling,
  });
}

/**
 * Rows of γ and β in a unit: local q, global q, local k and global k if positions are grouped, whichever branches exist; q
 * and k for every other mixer.
 */
export function offsetScaleRows(mixer: MixerConfig): 2 | 4 {
  const own = gauSchema.safeParse(mixer);
  return own.success && own.data.group !== null ? 4 : 2;
}

type RowRange = readonly [first: number, end: number];

/** The rows that become queries, and those that become keys: one or two neighbors. */
export function unitRows(mixer: MixerConfig): { readonly queries: RowRange; readonly keys: RowRange } {
  const own = gauSchema.safeParse(mixer);
  if (!own.success || own.data.group === null) return { queries: [0, 1], keys: [1, 2] };
  const { local, global } = own.data;
  const first = local !== null ? 0 : 1;
  const end = global && local !== null ? 2 : first + 1;
  return { queries: [first, end], keys: [2 + first, 2 + end] };
}
