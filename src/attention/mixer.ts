/**
 * What a mixer is: the formula, and the table with one entry per kind. Configurations and presets are in files of their own.
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
 *
 * The kind `features` is linear attention through a feature map φ, o_t = Σ_{j≤t} ⟨φ(q_t), φ(k_j)⟩·v_j with a
 * normalization of its own; `yoso` weighs by collision probabilities; `linformer` projects the whole sequence to a few rows
 * and is not causal, `block-linformer` projects it block by block and is; `gau` is FLASH's own attention inside a gated
 * attention unit. All of them may have the convolution.
 */
import { LinnetError } from '../errors.ts';
import { biasBuckets } from './gau/bias-buckets.ts';
import { defaultCollisionBits, describeFeatureMap, isLearnedMap } from './features/feature-config.ts';
import type {
  BlockLinformerMixer,
  Convolution,
  FeaturesMixer,
  GauMixer,
  LinformerMixer,
  LinearMixer,
  LocalKernel,
  MixerConfig,
  SoftmaxMixer,
  UnitKernel,
  YosoMixer,
} from './mixer-config.ts';

export * from './mixer-config.ts';
export * from './mixer-presets.ts';

/** Number of heads of an attention layer; `keyValueHeads` divides `heads` (grouped-query attention). */
export interface HeadCounts {
  readonly heads: number;
  readonly keyValueHeads: number;
}

/** What the shapes of a mixer's parameters depend on. */
export interface MixerSizes extends HeadCounts {
  /** D: width of queries and keys. In a gated attention unit S. */
  readonly headWidth: number;
}

/** A parameter that a mixer adds to its attention layer, beside the projections. */
export interface MixerParameter {
  /** Name inside the layer, as in the reference checkpoints. */
  readonly name:
    | 'local_factor'
    | 'global_factor'
    | 'dwconv.weight'
    | 'feature_map_q.weight'
    | 'feature_map_k.weight'
    | 'linformer_k.weight'
    | 'linformer_v.weight'
    | 'rel_pos_bias.relative_attention_bias.weight';
  readonly shape: readonly number[];
  /**
   * `identity`: every matrix of the last two axes is the identity. `averages`: each of r rows averages every r-th column.
   */
  readonly init: 'zeros' | 'ones' | 'identity' | 'averages';
}

/** What the table knows about one kind of mixer. A new kind is a schema in `mixerSchema` and an entry in `mixers`. */
interface MixerKind<Config> {
  describe(config: Config): string;
  parameters(config: Config, sizes: MixerSizes): MixerParameter[];
  /** Positions per group; infinite where one group never ends. */
  group(config: Config): number;
}

interface MixerConfigs {
  softmax: SoftmaxMixer;
  linear: LinearMixer;
  features: FeaturesMixer;
  yoso: YosoMixer;
  linformer: LinformerMixer;
  gau: GauMixer;
  'block-linformer': BlockLinformerMixer;
}

type ConfigOf<Kind extends keyof MixerConfigs> = { [K in Kind]: { kind: K } & MixerConfigs[K] }[Kind];

const mixers: { readonly [K in keyof MixerConfigs]: MixerKind<ConfigOf<K>> } = {
  softmax: {
    describe: () => 'softmax attention',
    parameters: () => [],
    group: () => Number.POSITIVE_INFINITY,
  },
  linear: {
    describe: describeLinear,
    parameters: linearParameters,
    group: ({ group }) => group,
  },
  features: {
    describe: (config) => {
      const norm = outputNames[config.output];
      return `${withConvolution(`${describeFeatureMap(config.map)}${norm}`, config.convolution)}, G = ${config.group}`;
    },
    parameters: (config, sizes) => [...featureParameters(config, sizes), ...taps(config.convolution, sizes)],
    group: ({ group }) => group,
  },
  yoso: {
    describe: ({ bits, convolution }) => withConvolution(`yoso expectation of ${bits} bits`, convolution),
    parameters: ({ convolution }, sizes) => taps(convolution, sizes),
    group: () => Number.POSITIVE_INFINITY,
  },
  linformer: {
    describe: ({ rows, length, convolution }) =>
      withConvolution(`bidirectional linformer ${rows} of ${length}`, convolution),
    parameters: ({ rows, length, convolution }, sizes) => [...projections(rows, length), ...taps(convolution, sizes)],
    group: () => Number.POSITIVE_INFINITY,
  },
  gau: {
    describe: describeUnit,
    parameters: ({ convolution }, sizes) => [
      { name: 'rel_pos_bias.relative_attention_bias.weight', shape: [biasBuckets, 1], init: 'zeros' },
      ...taps(convolution, sizes),
    ],
    group: ({ group }) => group ?? Number.POSITIVE_INFINITY,
  },
  'block-linformer': {
    describe: ({ rows, block, convolution }) =>
      withConvolution(`linformer ${rows} rows per block of ${block}`, convolution),
    parameters: ({ rows, block, convolution }, sizes) => [...projections(rows, block), ...taps(convolution, sizes)],
    group: ({ block }) => block,
  },
};

const outputNames: Readonly<Record<FeaturesMixer['output'], string>> = {
  ratio: '',
  rms: ' with rms norm',
  unit: ' of unit length',
};

/** One line for people, for example `local relu² + α·global + convolution 63, G = 64`. */
export function describeMixer<Kind extends keyof MixerConfigs>(config: ConfigOf<Kind>): string {
  const kind: Kind = config.kind;
  return mixers[kind].describe(config);
}

/**
 * The parameters a mixer adds to a layer. `dwconv.weight` is [H,1,K,1], one filter per query head, shared by the
 * channels of the head; the factors are [1]; `feature_map_q.weight` is [H,D,D] and `feature_map_k.weight` [M,D,D]; `linformer_k.weight` and
 * `linformer_v.weight` are [r,N] (by blocks [r,G]), and the table of relative biases is [32,1], shared by the heads.
 */
export function mixerParameters<Kind extends keyof MixerConfigs>(
  config: ConfigOf<Kind>,
  sizes: MixerSizes,
): MixerParameter[] {
  const kind: Kind = config.kind;
  return mixers[kind].parameters(config, sizes);
}

/**
 * Width of a row of queries or keys as the mixer is given it: D, and in a `gau` mixer one stretch of S per branch, local
 * and global side by side.
 */
export function rowWidth(config: MixerConfig, headWidth: number): number {
  return config.kind === 'gau' && config.local !== null && config.global ? 2 * headWidth : headWidth;
}

/** Whether no position reads a later one. False for Linformer, and an unmasked convolution with more than one tap. */
export function isCausal(config: MixerConfig): boolean {
  if (config.kind === 'linformer') return false;
  const convolution = convolutionOf(config);
  return convolution === null || convolution.masked || convolution.kernel === 1;
}

/**
 * Refuses mixers that cannot attend to another text, whose positions are not those of the queries: a local group, a
 * convolution and castling pair the two.
 * @throws LinnetError `CONFIG`
 */
export function requireCrossing(config: MixerConfig): void {
  const pairs =
    config.kind === 'gau' ||
    config.kind === 'block-linformer' ||
    (config.kind === 'linear' && (config.local !== null || config.castling));
  if (!pairs && convolutionOf(config) === null) return;
  throw new LinnetError(
    'CONFIG',
    `'${describeMixer(config)}' pairs positions and has no cross attention; use a mixer without local groups and convolution`,
  );
}

/** The convolution of a mixer; null where it has none. */
export function convolutionOf(config: MixerConfig): Convolution | null {
  return config.kind === 'softmax' ? null : config.convolution;
}

/** G: positions per group. Infinite for softmax and YOSO's expectation, which see their whole past one by one. */
export function groupOf<Kind extends keyof MixerConfigs>(config: ConfigOf<Kind>): number {
  const kind: Kind = config.kind;
  return mixers[kind].group(config);
}

/**
 * Softmax attention and YOSO's expectation as the linear kind: one local group that never ends. The linear kind itself
 * is returned as it is.
 */
export function linearForm(config: SoftmaxMixer | YosoMixer | LinearMixer): LinearMixer {
  if (config.kind === 'linear') return config;
  const endless = { kind: 'linear', group: Number.POSITIVE_INFINITY, global: null, castling: false } as const;
  if (config.kind === 'softmax') {
    return { ...endless, local: { kernel: 'softmax', scale: 'none' }, convolution: null, normalize: null };
  }
  const local = { kernel: 'yoso', bits: config.bits, scale: 'none' } as const;
  return { ...endless, local, convolution: config.convolution, normalize: 'together' };
}

/** τ of a local branch with the yoso kernel. */
export function collisionBits({ bits = defaultCollisionBits }: { readonly bits?: number }): number {
  return bits;
}

/** P = (K−1)/2: how many positions a masked kernel of length K looks back. */
export function convolutionReach(kernel: number): number {
  return (kernel - 1) / 2;
}

const unitKernelNames: Readonly<Record<UnitKernel, string>> = {
  laplace: 'laplace',
  relu2: 'relu²',
  softmax: 'softmax',
};
const kernelNames: Readonly<Record<LocalKernel, string>> = { relu2: 'relu²', softmax: 'softmax', yoso: 'yoso' };

function withConvolution(text: string, convolution: Convolution | null): string {
  if (convolution === null) return text;
  const filter = `${convolution.masked ? '' : 'unmasked '}convolution ${convolution.kernel}`;
  return text === '' ? filter : `${text} + ${filter}`;
}

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
  text = withConvolution(text, config.convolution);
  return config.local === null && config.global === null ? text : `${text}, G = ${config.group}`;
}

function describeUnit({ group, local, global, castling, convolution }: GauMixer): string {
  const branches = [
    ...(local === null ? [] : [`local ${unitKernelNames[local.kernel]}`]),
    ...(global ? ['global'] : []),
  ];
  const attention = branches.join(' + ');
  const text = withConvolution(
    castling ? (attention === '' ? 'castling' : `castling (${attention})`) : attention,
    convolution,
  );
  return `gau ${text}${group === null ? ', one group' : branches.length > 0 ? `, G = ${group}` : ''}`;
}

function taps(convolution: Convolution | null, { heads }: HeadCounts): MixerParameter[] {
  if (convolution === null) return [];
  return [{ name: 'dwconv.weight', shape: [heads, 1, convolution.kernel, 1], init: 'zeros' }];
}

function projections(rows: number, columns: number): MixerParameter[] {
  const shape = [rows, columns];
  return [
    { name: 'linformer_k.weight', shape, init: 'averages' },
    { name: 'linformer_v.weight', shape, init: 'averages' },
  ];
}

function featureParameters({ map }: FeaturesMixer, { heads, keyValueHeads, headWidth }: MixerSizes): MixerParameter[] {
  if (!isLearnedMap(map)) return [];
  return [
    { name: 'feature_map_q.weight', shape: [heads, headWidth, headWidth], init: 'identity' },
    { name: 'feature_map_k.weight', shape: [keyValueHeads, headWidth, headWidth], init: 'identity' },
  ];
}

function linearParameters(config: LinearMixer, sizes: HeadCounts): MixerParameter[] {
  const parameters: MixerParameter[] = [];
  if (config.local?.scale === 'learned') parameters.push({ name: 'local_factor', shape: [1], init: 'ones' });
  // α starts at 0: with a constant 1 the paper's fine-tuning starts far higher and stays behind (its Figure 6b).
  if (config.global?.scale === 'learned') parameters.push({ name: 'global_factor', shape: [1], init: 'zeros' });
  return [...parameters, ...taps(config.convolution, sizes)];
}
