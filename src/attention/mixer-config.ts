/** Mixers as they are configured: the schema of every kind, its defaults, and what does not go together. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { collisionBitsSchema, defaultCollisionBits, featureMapSchema } from './features/feature-config.ts';

/** G of the paper's language-model recipes. */
export const defaultGroup = 64;

/** K of the paper's language-model recipes: 32 live taps, lags 0…31. */
export const defaultKernel = 63;

/** r of Linformer by blocks: with G = 64, an eighth of a key-value cache. */
const defaultBlockRows = 8;

const softmaxSchema = z.strictObject({ kind: z.literal('softmax') });

/** The kernels of the local branch. */
export const localKernels = ['relu2', 'softmax', 'yoso'] as const;

const localSchema = z.strictObject({
  /**
   * `relu2`: max(q̂·k̂, 0)². `softmax`: softmax of q·k/√d, raw q and k, over the own group up to the position. `yoso`:
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

const convolutionSchema = z.strictObject({
  kernel: z
    .int()
    .min(1)
    .max(65535)
    .refine((length) => length % 2 === 1, 'the kernel length must be odd, so that it has a centre tap')
    .default(defaultKernel),
  /** False lets the taps read the future, on purpose: it shows the leak of section 4.2 and cannot decode. */
  masked: z.boolean().default(true),
});

/** Linear attention through a feature map. */
const featuresSchema = z.strictObject({
  kind: z.literal('features'),
  /** Positions per chunk. It is a size of the computation and of the state; the result does not depend on it. */
  group: z.int().min(1).max(65536).default(defaultGroup),
  map: featureMapSchema,
  /**
   * `ratio`: divided by Σ⟨φ(q),φ(k)⟩. `rms`: no denominator; the output of every head is divided by its root mean
   * square. `unit`: no denominator; divided by 1e-5 plus its length.
   */
  output: z.enum(['ratio', 'rms', 'unit']).default('ratio'),
  convolution: convolutionSchema.nullable().default(null),
});

/** YOSO by its expectation: weights (1 − arccos(q̂·k̂)/π)^bits over the whole past, output of unit length. */
const yosoSchema = z.strictObject({
  kind: z.literal('yoso'),
  /** τ: hyperplanes per hash. */
  bits: collisionBitsSchema.default(defaultCollisionBits),
  convolution: convolutionSchema.nullable().default(null),
});

/** Linformer as published, for encoders: every position reads the whole sequence. */
const linformerSchema = z.strictObject({
  kind: z.literal('linformer'),
  /** r: rows that keys and values are projected to. */
  rows: z.int().min(1).max(65536).default(64),
  /** N: positions that the learned projections have columns for; longer sequences are refused. */
  length: z.int().min(128).max(1048576).default(1024),
  convolution: convolutionSchema.nullable().default(null),
});

/** The kernels of a gated attention unit's own attention. */
const unitKernels = ['laplace', 'relu2', 'softmax'] as const;

/**
 * FLASH's attention inside a gated attention unit: queries and keys of the two branches are projected apart, scores get a
 * learned bias by distance, nothing is normalized.
 */
const gauSchema = z
  .strictObject({
    kind: z.literal('gau'),
    /** G; null: one group that never ends, so that every position looks at its whole past one by one. */
    group: z.int().min(1).max(65536).nullable().default(256),
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
    convolution: convolutionSchema.nullable().default(null),
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

/**
 * Linformer by blocks, causal: closed blocks are projected to a few rows each, and the own block is attended exactly.
 */
const blockLinformerSchema = z
  .strictObject({
    kind: z.literal('block-linformer'),
    /** r: rows that a closed block is projected to. */
    rows: z.int().min(1).max(65536).default(defaultBlockRows),
    /** G: positions per block. */
    block: z.int().min(1).max(65536).default(defaultGroup),
    convolution: convolutionSchema.nullable().default(null),
  })
  .refine(({ rows, block }) => rows <= block, {
    message: 'a block cannot be projected to more rows than it has positions: lower rows or raise block',
    path: ['rows'],
  });

const linearSchema = z
  .strictObject({
    kind: z.literal('linear'),
    /** G: positions per group. 1 makes the attention ungrouped, the own position being the only local one. */
    group: z.int().min(1).max(65536).default(defaultGroup),
    local: localSchema.nullable().default(null),
    global: globalSchema.nullable().default(null),
    convolution: convolutionSchema.nullable().default(null),
    /**
     * x/(1e-5 + ‖x‖) per head vector. `global`: of the global branch before α. `together`: of λ·local + α·global.
     * The reference code calls these NORM_GLOBAL and NORM_TOGETHER.
     */
    normalize: z.enum(['global', 'together']).nullable().default(null),
    /** The attention part o becomes x/‖x‖ with x = ½v + o/π, before the convolution is added. */
    castling: z.boolean().default(false),
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
  .refine((config) => config.normalize !== 'together' || config.local !== null || config.global !== null, {
    message: "normalize 'together' needs a local or a global branch",
    path: ['normalize'],
  });

const commonKinds = [
  softmaxSchema,
  linearSchema,
  featuresSchema,
  yosoSchema,
  linformerSchema,
  blockLinformerSchema,
] as const;

/** The schema of the mixers that any model with queries, keys and values can have. Unknown fields are refused. */
export const commonMixerSchema = z.discriminatedUnion('kind', commonKinds);

/** The schema of `MixerConfig`, for embedding in a model's configuration. Unknown fields are refused. */
export const mixerSchema = z.discriminatedUnion('kind', [...commonKinds, gauSchema]);

/** How one attention layer mixes positions. */
export type MixerConfig = z.infer<typeof mixerSchema>;
/** What may be written in a file: fields with a default may be left out. */
export type MixerInput = z.input<typeof mixerSchema>;
export type SoftmaxMixer = z.infer<typeof softmaxSchema>;
export type LinearMixer = z.infer<typeof linearSchema>;
export type FeaturesMixer = z.infer<typeof featuresSchema>;
export type YosoMixer = z.infer<typeof yosoSchema>;
export type LinformerMixer = z.infer<typeof linformerSchema>;
export type GauMixer = z.infer<typeof gauSchema>;
export type BlockLinformerMixer = z.infer<typeof blockLinformerSchema>;
export type Convolution = z.infer<typeof convolutionSchema>;
export type LocalKernel = (typeof localKernels)[number];
export type UnitKernel = (typeof unitKernels)[number];

/**
 * Checks a configuration and fills in the defaults.
 * @throws LinnetError `CONFIG` naming every field that is wrong.
 */
export function parseMixer(value: unknown): MixerConfig {
  const result = mixerSchema.safeParse(value);
  if (result.success) return result.data;
  throw new LinnetError('CONFIG', `invalid mixer configuration:\n${z.prettifyError(result.error)}`, {
    cause: result.error,
  });
}
