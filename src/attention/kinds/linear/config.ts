/** Configuration of the paper's linear kind: branches, scales and norms. */
import { z } from 'zod';
import { convolutionField, filterParameters, withConvolution } from '../../convolution-config.ts';
import type { HeadCounts, MixerConfig, MixerParameter } from '../../mixer.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { offByDefault, whole } from '../../../files/schema-values.ts';

/** The kernels of the local branch. */
export const localKernels = ['relu2', 'relu2-raw', 'softmax', 'yoso'] as const;

/** Bits per hash: τ of YOSO. */
export const collisionBitsSchema = whole(1, 16);

/** τ in YOSO's paper. */
export const defaultCollisionBits = 8;

/** The vectors that can be normalized. */
export const normalizations = ['local', 'global', 'together'] as const;

const localSchema = z.strictObject({
  /**
   * `relu2`: max(q̂·k̂, 0)². `relu2-raw`: max(q·k/√D, 0)², raw q and k, whose lengths make heads attend more or less
   * sharply; not in the paper. `softmax`: softmax of q·k/√D, raw q and k, over the own group up to the position. `yoso`:
   * (1 − arccos(q̂·k̂)/π)^bits.
   */
  kernel: z.enum(localKernels).default('relu2'),
  /** τ, for the yoso kernel; default 8. */
  bits: collisionBitsSchema.optional(),
  /** `learned`: the branch is multiplied by λ, one scalar per layer that starts at 1. */
  scale: z.enum(['none', 'learned']).default('none'),
});

const globalSchema = z.strictObject({
  /** `learned`: α, one scalar per layer that starts at 0. `one`: constant 1. */
  scale: z.enum(['learned', 'one']).default('learned'),
});

/** The presets' fade: it does no harm beyond the trained length (docs/decisions/fade.md). */
export const defaultFade = 0.5;

/** Factor on a group's terms per group between it and the reading one. */
export const fadeSchema = z.number().gt(0).max(1);

/** The field `local`: none by default. */
export const localField = localSchema.nullable().default(null);

/** The field `global`: none by default. */
export const globalField = globalSchema.nullable().default(null);

export const linearSchema = z
  .strictObject({
    kind: z.literal('linear'),
    /** G: positions per group. 1 makes the attention ungrouped, with only the current position local. */
    group: groupSchema.default(defaultGroup),
    local: localField,
    /**
     * `fade`: multiplies a group's terms once for every group between it and the reading one, so that the sum does not grow
     * with the text. Not in the paper. Default 1. Whole texts read without groups have no fade.
     */
    global: globalSchema.extend({ fade: fadeSchema.optional() }).nullable().default(null),
    convolution: convolutionField,
    /**
     * `global`, `together`: x/(1e-5 + ‖x‖) per head vector, for the global branch before α, or for λ·local + α·global. The
     * reference code calls these NORM_GLOBAL and NORM_TOGETHER. `local`: divides the local branch's weights by 0.001 +
     * their sum, which makes it a mean of values, like softmax attention, however many keys the group has so far.
     */
    normalize: z.enum(normalizations).nullable().default(null),
    /** The attention part o becomes x/‖x‖ with x = ½v + o/π, before the convolution is added. */
    castling: offByDefault,
  })
  .refine((config) => config.local !== null || config.global !== null || config.convolution !== null, {
    message: 'a linear mixer needs at least one branch: local, global or convolution',
  })
  .refine((config) => !config.castling || config.convolution !== null, {
    message: 'castling is defined together with a convolution: add convolution, or set castling to false',
    path: ['castling'],
  })
  .refine((config) => config.normalize !== 'global' || config.global !== null, {
    message: "normalize 'global' needs a global branch",
    path: ['normalize'],
  })
  .refine((config) => config.normalize !== 'local' || (config.local !== null && config.local.kernel !== 'softmax'), {
    message:
      "normalize 'local' needs a local branch with the kernel relu2, relu2-raw or yoso; weights of softmax sum to one already",
    path: ['normalize'],
  })
  .refine((config) => config.normalize !== 'together' || config.local !== null || config.global !== null, {
    message: "normalize 'together' needs a local or a global branch",
    path: ['normalize'],
  });

/** Grouped linear attention. */
export type LinearMixer = z.infer<typeof linearSchema>;
export type LocalKernel = (typeof localKernels)[number];

/** The local branch's weights. */
export type LocalBranch = NonNullable<LinearMixer['local']>;

/** τ of a local branch with the yoso kernel. */
export function collisionBits({ bits = defaultCollisionBits }: { readonly bits?: number }): number {
  return bits;
}

/** The global branch's factor per closed group; 1 is the paper's sum. */
export function fadeOf({ global }: LinearMixer): number {
  return global?.fade ?? 1;
}

const kernelNames: Readonly<Record<LocalKernel, string>> = {
  relu2: 'relu²',
  'relu2-raw': 'relu² of raw scores',
  softmax: 'softmax',
  yoso: 'yoso',
};

/** "local relu² + α·global + convolution 63, G = 64". */
export function describeBranches(config: LinearMixer): string {
  const terms: string[] = [];
  if (config.local !== null) {
    const branch = `${config.normalize === 'local' ? 'normalized ' : ''}local ${kernelNames[config.local.kernel]}`;
    terms.push(`${config.local.scale === 'learned' ? 'λ·' : ''}${branch}`);
  }
  if (config.global !== null) {
    const branch = config.normalize === 'global' ? 'normalized global' : 'global';
    const fade = fadeOf(config) === 1 ? '' : ` fading by ${fadeOf(config)}`;
    terms.push(`${config.global.scale === 'learned' ? 'α·' : ''}${branch}${fade}`);
  }
  let text = terms.join(' + ');
  if (config.normalize === 'together') text = `normalized (${text})`;
  if (config.castling) text = text === '' ? 'castling' : `castling (${text})`;
  text = withConvolution(text, config.convolution);
  return config.local === null && config.global === null ? text : `${text}, G = ${config.group}`;
}

/** The learned ones of λ and α, and the convolution's filter. */
export function branchParameters(
  { local, global, convolution }: MixerConfig & Pick<LinearMixer, 'local' | 'global' | 'convolution'>,
  dims: HeadCounts,
): MixerParameter[] {
  const parameters: MixerParameter[] = [];
  if (local?.scale === 'learned') parameters.push({ name: 'local_factor', shape: [1], init: 'ones' });
  // α starts at 0: with a constant 1 the paper's fine-tuning starts far higher and stays behind (its Figure 6b).
  if (global?.scale === 'learned') parameters.push({ name: 'global_factor', shape: [1], init: 'zeros' });
  return [...parameters, ...filterParameters(convolution, dims)];
}
