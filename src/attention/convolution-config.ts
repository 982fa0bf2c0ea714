/** Mixers' configuration of the depthwise convolution on V (paper, section 4.2). */
import { z } from 'zod';
import type { HeadCounts, MixerParameter } from './attention-layer.ts';
import { onByDefault } from '../files/schema-values.ts';

/** K in the paper's language-model recipes: 32 live filter weights, offsets 0…31. */
export const defaultKernel = 63;

export const convolutionSchema = z.strictObject({
  kernel: z
    .int()
    .min(1)
    .max(65535)
    .refine((length) => length % 2 === 1, 'the kernel length must be odd, so that it has a centre weight')
    .default(defaultKernel),
  /** False deliberately lets the filter read the future: it shows section 4.2's leak and cannot decode. */
  masked: onByDefault,
});

/** K and whether the filter is masked. */
export type ConvolutionConfig = z.infer<typeof convolutionSchema>;

/** The field `convolution` of a mixer's schema: none by default. */
export const convolutionField = convolutionSchema.nullable().default(null);

/** P = (K−1)/2: how many positions a masked kernel of length K looks back. */
export function convolutionReach(kernel: number): number {
  return (kernel - 1) / 2;
}

/** Whether no filter weight reads a later position. */
export function isCausalConvolution(convolution: ConvolutionConfig | null): boolean {
  return convolution === null || convolution.masked || convolution.kernel === 1;
}

/** A mixer's reach, if nothing else in it depends on distances: P, or −1 without a convolution. */
export function reachOf(convolution: ConvolutionConfig | null): number {
  return convolution === null ? -1 : convolutionReach(convolution.kernel);
}

/** The filter parameter's name. */
export const filterName = 'dwconv.weight';

/** A convolution's filter: [H,1,K,1], one per query head, shared by the head's channels. */
export function filterParameters(convolution: ConvolutionConfig | null, { heads }: HeadCounts): MixerParameter[] {
  return convolution === null ? [] : [{ name: filterName, shape: [heads, 1, convolution.kernel, 1], init: 'zeros' }];
}

/** A description with its convolution: "local relu² + convolution 63". */
export function withConvolution(text: string, convolution: ConvolutionConfig | null): string {
  if (convolution === null) return text;
  const filter = `${convolution.masked ? '' : 'unmasked '}convolution ${convolution.kernel}`;
  return text === '' ? filter : `${text} + ${filter}`;
}
