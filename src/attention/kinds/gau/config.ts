/** Configuration of FLASH's attention inside a gated attention unit (Hua et al., arXiv 2202.10447). */
import { z } from 'zod';
import { convolutionField, withConvolution } from '../../convolution-config.ts';
import { groupSchema } from '../../preset.ts';

/** The kernels of a gated attention unit's own attention. */
const unitKernels = ['laplace', 'relu2', 'softmax'] as const;

export const gauSchema = z
  .strictObject({
    kind: z.literal('gau'),
    /** G; null: one group that never ends, so that every position looks at its whole past one by one. */
    group: groupSchema.nullable().default(256),
    local: z
      .strictObject({
        /** Weights of scores s = q·k/divisor + bias/biasDivisor: `laplace` ½(1 + erf((s − √½)·√(2π))), `relu2` max(s, 0)². */
        kernel: z.enum(unitKernels).default('laplace'),
        /** Default G; needed where groups never end. */
        divisor: z.number().positive().optional(),
        biasDivisor: z.number().positive().default(1),
      })
      .nullable()
      .default({ kernel: 'laplace', biasDivisor: 1 }),
    /** q·Σ kᵀv/G over earlier groups. */
    global: z.boolean().default(true),
    convolution: convolutionField,
    /** As in the linear kind. */
    castling: z.boolean().default(false),
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

/** FLASH's attention: queries and keys projected apart per branch, a learned bias by distance, nothing normalized. */
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

/** G; infinite for the one group that never ends. */
export function unitGroup({ group }: GauMixer): number {
  return group ?? Number.POSITIVE_INFINITY;
}

/** Divisor of q·k and the bias in the scores of the local branch. */
export function scoreDivisors({ local, group }: GauMixer): { readonly product: number; readonly bias: number } {
  return { product: local?.divisor ?? group ?? 1, bias: local?.biasDivisor ?? 1 };
}
