/**
 * What a mixer is: its configuration, the presets that the paper compares, and the table with one entry per kind.
 *
 * A mixer mixes positions. For one head and position t of a causal sequence or token tree, the linear kind is
 *
 *     local_t  = Σ kernel(q_t, k_j)·v_j      over ancestors-or-self j in t's group ⌊t/G⌋
 *     global_t = Σ ⟨q̂_t, k̂_j⟩·v_j            over ancestors j in earlier groups
 *     conv_t   = Σ_τ w[P−τ]·v_{t−τ}           masked depthwise convolution, τ = 0…P, P = (K−1)/2
 *     o_t      = λ·local_t + α·global_t + conv_t
 *
 * (paper, section 4: grouped linear attention, section 4.2: masked depthwise convolution), with q̂ = q/‖q‖.
 * Softmax attention is the reference that the linear kinds replace.
 */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';

/** G of the paper's language-model recipes. */
export const defaultGroup = 64;

/** K of the paper's language-model recipes: 32 live taps, lags 0…31. */
export const defaultKernel = 63;

const softmaxSchema = z.strictObject({ kind: z.literal('softmax') });

const localSchema = z.strictObject({
  /** `relu2`: max(q̂·k̂, 0)². `softmax`: softmax of q·k/√d, raw q and k, over the own group up to the position. */
  kernel: z.enum(['relu2', 'softmax']).default('relu2'),
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

/** The schema of `MixerConfig`, for embedding in a model's configuration. Unknown fields are refused. */
export const mixerSchema = z.discriminatedUnion('kind', [softmaxSchema, linearSchema]);

/** How one attention layer mixes positions. */
export type MixerConfig = z.infer<typeof mixerSchema>;
/** What may be written in a file: fields with a default may be left out. */
export type MixerInput = z.input<typeof mixerSchema>;
export type SoftmaxMixer = z.infer<typeof softmaxSchema>;
export type LinearMixer = z.infer<typeof linearSchema>;
export type LocalKernel = z.infer<typeof localSchema>['kernel'];

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

/** Number of heads of an attention layer; `keyValueHeads` divides `heads` (grouped-query attention). */
export interface HeadCounts {
  readonly heads: number;
  readonly keyValueHeads: number;
}

/** A parameter that a mixer adds to its attention layer, beside the projections. */
export interface MixerParameter {
  /** Name inside the layer, as in the reference checkpoints. */
  readonly name: 'local_factor' | 'global_factor' | 'dwconv.weight';
  readonly shape: readonly number[];
  readonly init: 'zeros' | 'ones';
}

/** What the table knows about one kind of mixer. A new kind is a schema in `mixerSchema` and an entry in `mixers`. */
interface MixerKind<Config> {
  describe(config: Config): string;
  parameters(config: Config, counts: HeadCounts): MixerParameter[];
  /** Whether no position reads a later one; only such mixers can decode. */
  causal(config: Config): boolean;
}

interface MixerConfigs {
  softmax: SoftmaxMixer;
  linear: LinearMixer;
}

type ConfigOf<Kind extends keyof MixerConfigs> = { [K in Kind]: { kind: K } & MixerConfigs[K] }[Kind];

const mixers: { readonly [K in keyof MixerConfigs]: MixerKind<ConfigOf<K>> } = {
  softmax: {
    describe: () => 'softmax attention',
    parameters: () => [],
    causal: () => true,
  },
  linear: {
    describe: describeLinear,
    parameters: linearParameters,
    causal: ({ convolution }) => convolution === null || convolution.masked || convolution.kernel === 1,
  },
};

/** One line for people, for example `local relu² + α·global + convolution 63, G = 64`. */
export function describeMixer<Kind extends keyof MixerConfigs>(config: ConfigOf<Kind>): string {
  const kind: Kind = config.kind;
  return mixers[kind].describe(config);
}

/**
 * The parameters a mixer adds to a layer. `dwconv.weight` is [H,1,K,1], one filter per query head, shared by the
 * channels of the head; the factors are [1].
 */
export function mixerParameters<Kind extends keyof MixerConfigs>(
  config: ConfigOf<Kind>,
  counts: HeadCounts,
): MixerParameter[] {
  const kind: Kind = config.kind;
  return mixers[kind].parameters(config, counts);
}

/** Whether no position reads a later one. False only for an unmasked convolution with more than one tap. */
export function isCausal<Kind extends keyof MixerConfigs>(config: ConfigOf<Kind>): boolean {
  const kind: Kind = config.kind;
  return mixers[kind].causal(config);
}

/** P = (K−1)/2: how many positions a masked kernel of length K looks back. */
export function convolutionReach(kernel: number): number {
  return (kernel - 1) / 2;
}

const kernelNames: Readonly<Record<LocalKernel, string>> = { relu2: 'relu²', softmax: 'softmax' };

function describeLinear(config: LinearMixer): string {
  const terms: string[] = [];
  if (config.local !== null) {
    terms.push(`${config.local.scale === 'learned' ? 'λ·' : ''}local ${kernelNames[config.local.kernel]}`);
  }
  if (config.global !== null) {
    const branch = config.normalize === 'global' ? 'normalized global' : 'global';
    terms.push(`${config.global.scale === 'learned' ? 'α·' : ''}${branch}`);
  }
  let text = terms.join(' + ');
  if (config.normalize === 'together') text = `normalized (${text})`;
  if (config.castling) text = text === '' ? 'castling' : `castling (${text})`;
  if (config.convolution !== null) {
    const filter = `${config.convolution.masked ? '' : 'unmasked '}convolution ${config.convolution.kernel}`;
    text = text === '' ? filter : `${text} + ${filter}`;
  }
  return config.local === null && config.global === null ? text : `${text}, G = ${config.group}`;
}

function linearParameters(config: LinearMixer, { heads }: HeadCounts): MixerParameter[] {
  const parameters: MixerParameter[] = [];
  if (config.local?.scale === 'learned') parameters.push({ name: 'local_factor', shape: [1], init: 'ones' });
  // α starts at 0: with a constant 1 the paper's fine-tuning starts far higher and stays behind (its Figure 6b).
  if (config.global?.scale === 'learned') parameters.push({ name: 'global_factor', shape: [1], init: 'zeros' });
  if (config.convolution !== null) {
    parameters.push({ name: 'dwconv.weight', shape: [heads, 1, config.convolution.kernel, 1], init: 'zeros' });
  }
  return parameters;
}

/** What a preset can be adjusted by. Presets ignore what they do not use. */
export interface PresetOptions {
  /** G, default 64. */
  readonly group?: number;
  /** K, odd, default 63. */
  readonly kernel?: number;
}

/**
 * The mixers that the paper compares. `global` alone has the constant scale 1: a learned α starts at 0, and a layer
 * without another branch would then output nothing at all.
 */
export const mixerPresets = {
  softmax: () => ({ kind: 'softmax' }),
  local: ({ group }) => ({ kind: 'linear', group, local: {} }),
  global: ({ group }) => ({ kind: 'linear', group, global: { scale: 'one' } }),
  'local+global': ({ group }) => ({ kind: 'linear', group, local: {}, global: {} }),
  'local+conv': ({ group, kernel }) => ({ kind: 'linear', group, local: {}, convolution: { kernel } }),
  augmented: ({ group, kernel }) => ({ kind: 'linear', group, local: {}, global: {}, convolution: { kernel } }),
} as const satisfies Readonly<Record<string, (options: PresetOptions) => MixerInput>>;

export type MixerPreset = keyof typeof mixerPresets;

/** The names `mixerPreset` knows. */
export const mixerPresetNames: readonly string[] = Object.keys(mixerPresets);

function isPreset(name: string): name is MixerPreset {
  return Object.hasOwn(mixerPresets, name);
}

/**
 * A preset by name: `softmax`, `local`, `global`, `local+global`, `local+conv` or `augmented` (all three branches, the
 * paper's own). Where a preset has a global branch beside a local one, it is scaled by the learned α.
 * @throws LinnetError `CONFIG` for an unknown name or an option out of range.
 */
export function mixerPreset(name: string, options: PresetOptions = {}): MixerConfig {
  if (!isPreset(name)) {
    throw new LinnetError('CONFIG', `unknown mixer '${name}'; the presets are ${mixerPresetNames.join(', ')}`);
  }
  const factory: (options: PresetOptions) => MixerInput = mixerPresets[name];
  return parseMixer(factory(options));
}
