/**
 * The paper's grouped linear attention for T5. Unlike a decoder's, its values also have unit length, the relative bias is
 * added to the weights after the activation, and all heads' outputs together are divided by their length. For one head,
 * query i and key j:
 *
 *     local_i  = Σ (max(q̂_i·k̂_j, 0)² + b_{i−j})·v̂_j   over the own group; in the decoder up to i
 *     global_i = Σ (q̂_i·k̂_j)·v̂_j                     over all groups, including the current one; in the decoder earlier ones
 *     o        = x / (1e-4 + ‖x‖),  x = local + α·global, over all heads of a position
 *     o_i     += Σ_τ w[P−τ]·v_{i−τ}                    on values as projected; in the encoder τ from −P to P
 *
 * Between encoder and decoder there is neither bias nor convolution, and groups of the two texts are unrelated: the global
 * branch reads the whole text. (The paper's code also has a local branch there, from each group to the group of the same
 * number, for texts of equal length.)
 */
import { z } from 'zod';
import { LinnetError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { collision } from '../../../graph/ops/surrogate-gradient.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, mul, relu } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { softmax, unitLength } from '../../../graph/ops/normalization.ts';
import { maskedReluSquared } from '../../../graph/ops/activations.ts';
import { groupMask, scoreBias } from '../../attention-mask.ts';
import { convolutionField } from '../../convolution-config.ts';
import { addGroupedConvolution } from '../../convolution.ts';
import {
  type Grouping,
  causalMask,
  earlierSums,
  groupKeys,
  groupQueries,
  groupingOf,
  ungroupQueries,
} from '../../grouping.ts';
import { HeadLayout } from '../../head-layout.ts';
import type {
  BidirectionalInput,
  CrossForm,
  MixerConfig,
  RecurrentForm,
  SequenceInput,
  StepBlock,
  StepInput,
} from '../../mixer.ts';
import { boundedLength, scaled } from '../../normalization.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { biasInGroups, biasOfRows, scoresInGroups } from '../../scoring.ts';
import { addStepConvolution, nodeBlocks, nodeRows, weightedValues } from '../../step-blocks.ts';
import {
  type LinearMixer,
  type LocalBranch,
  type LocalKernel,
  collisionBits,
  globalField,
  linearSchema,
  localField,
} from '../linear/config.ts';
import { linearRecurrent, localWeights } from '../linear/forms.ts';
import { textSums } from '../../text-rows.ts';

export const t5LinearSchema = z
  .strictObject({
    kind: z.literal('t5-linear'),
    /** G. */
    group: groupSchema.default(defaultGroup),
    local: localField,
    global: globalField,
    convolution: convolutionField,
    /**
     * Values under an encoder's convolution at padded positions. `zero`: none. `read`: the padding tokens' projections, as
     * in the paper's code; a text's result then depends on its padding.
     */
    padding: z.enum(['zero', 'read']).default('zero'),
  })
  .refine(({ local, global }) => local !== null || global !== null, 'T5 needs a local or a global branch');

/** T5's grouped linear attention. */
export type T5LinearMixer = z.infer<typeof t5LinearSchema>;

/** Problems of a linear mixer in T5; none for other kinds. */
export function t5Problems(mixer: MixerConfig): string[] {
  const linear = linearSchema.safeParse(mixer);
  if (!linear.success) return [];
  const { castling, normalize, local, global } = linear.data;
  return [
    ...(castling || normalize !== null
      ? ['castling and normalize are not defined for T5, which normalizes values and outputs']
      : []),
    ...(local === null && global === null
      ? ['it has only a convolution; T5 also needs a local or a global branch']
      : []),
  ];
}

/** T5's form of `mixer`: converts the linear kind, without a fade, since T5 normalizes the sum; others stay unchanged. */
export function t5Form(mixer: MixerConfig, padding: T5LinearMixer['padding']): MixerConfig {
  const linear = linearSchema.safeParse(mixer);
  if (!linear.success) return mixer;
  const { group, local, convolution } = linear.data;
  const global = linear.data.global && { scale: linear.data.global.scale };
  return t5LinearSchema.parse({ kind: 't5-linear', group, local, global, convolution, padding });
}

/** The inverse of `t5Form`: the form written to config.json. */
export function plainForm(mixer: MixerConfig): MixerConfig {
  const own = t5LinearSchema.safeParse(mixer);
  return own.success ? linearForm(own.data) : mixer;
}

export function linearForm({ group, local, global, convolution }: T5LinearMixer): LinearMixer {
  return { kind: 'linear', group, local, global, convolution, normalize: null, castling: false };
}

/** ε in the division by the length of all heads' outputs. */
const postNormEpsilon = 1e-4;

/** x / (1e-4 + ‖x‖) over all heads of a position. [B,n,H,E]; B and n may be named. */
function postNorm(x: Value): Value {
  const [B, n, H, E] = x.shape;
  return reshape(boundedLength(reshape(x, [B, n, Number(H) * Number(E)]), postNormEpsilon), [B, n, H, E]);
}

/** The encoder's self-attention, without the convolution: [B,n,H,E]. */
export function t5LinearOfWhole(config: T5LinearMixer, input: BidirectionalInput): Value {
  const { mask } = input;
  const grouping = groupingOf(input, config.group);
  const { batch: B, length, groups: N, keyValueHeads: M } = grouping;
  const k = mul(input.k, reshape(mask, [B, length, 1, 1]));
  return attend(config, grouping, { ...input, k }, groupMask(grouping, mask), ({ q, keys, values }) => {
    const joined = (rows: Value): Value => reshape(rows, [M, B, N * Number(rows.shape[2]), rows.shape[3]]);
    const read = matmul(joined(q), matmul(joined(keys), joined(values), { transposeA: true })); // [M,B,N*R*G,E]
    return reshape(read, [...q.shape.slice(0, 3), read.shape[3]]);
  });
}

/** The decoder's self-attention: [B,n,H,E]. @param mask float32 [B,n], the keys that the local branch sees; default all */
export function t5LinearParallel(config: T5LinearMixer, input: SequenceInput, mask?: Value): Value {
  const grouping = groupingOf(input, config.group);
  const past = causalMask(grouping, input.q, 1, 0); // [R*G,G]
  const visible = mask === undefined ? past : mul(groupMask(grouping, mask), past);
  const mixed = attend(config, grouping, input, visible, ({ q, keys, values }) =>
    matmul(q, earlierSums(grouping, keys, values)),
  );
  const nothing: Value | undefined = undefined;
  const filtered = addGroupedConvolution(config.convolution, nothing, grouping, input.v, input.parameters);
  return filtered === undefined ? mixed : add(mixed, ungroupQueries(grouping, filtered));
}

/**
 * The branches over whole sequences, normalized: [B,n,H,E].
 * @param visible the local branch's mask; broadcasts to [M,B·N,R·G,G]
 * @param outside the global branch without α, [M,B·N,R·G,E]
 */
function attend(
  config: T5LinearMixer,
  grouping: Grouping,
  input: SequenceInput,
  visible: Value,
  outside: (grouped: UnitGroups) => Value,
): Value {
  const grouped = unitGroups(grouping, input);
  const branches: Value[] = [];
  if (config.local !== null) branches.push(localBranch(config.local, grouping, input, grouped, visible));
  if (config.global !== null) branches.push(scaled(outside(grouped), input.parameters.global_factor));
  return postNorm(ungroupQueries(grouping, addAll(branches)));
}

/** Unit-length rows in groups. */
interface UnitGroups {
  /** [M,B·N,R·G,D] */
  readonly q: Value;
  /** [M,B·N,G,D] */
  readonly keys: Value;
  /** [M,B·N,G,E] */
  readonly values: Value;
}

function unitGroups(grouping: Grouping, { q, k, v }: Pick<SequenceInput, 'q' | 'k' | 'v'>): UnitGroups {
  return {
    q: groupQueries(grouping, unitLength(q)),
    keys: groupKeys(grouping, unitLength(k)),
    values: groupKeys(grouping, unitLength(v)),
  };
}

/** Self-attention's local branch, λ applied: [M,B·N,R·G,E]. `visible` broadcasts to [M,B·N,R·G,G]. */
function localBranch(
  branch: LocalBranch,
  grouping: Grouping,
  input: SequenceInput,
  { q, keys, values }: UnitGroups,
  visible: Value,
): Value {
  const { bias } = input.scoring;
  const weigh = ofCosines[branch.kernel];
  let weights: Value;
  if (weigh === undefined) {
    const scores = scoresInGroups({ queries: grouping, keys: grouping }, input);
    const isSoftmax = branch.kernel === 'softmax';
    weights = isSoftmax ? softmax(add(scores, scoreBias(visible))) : maskedReluSquared(scores, visible);
  } else {
    const own = weigh(matmul(q, keys, { transposeB: true }), branch);
    weights = mul(bias === undefined ? own : add(own, biasInGroups(bias, grouping)), visible);
  }
  return scaled(matmul(weights, values), input.parameters.local_factor);
}

/** Weights of cosines, to which the bias is added. Other kernels add it to the scores, as softmax attention does. */
const ofCosines: Readonly<Partial<Record<LocalKernel, (cosines: Value, branch: LocalBranch) => Value>>> = {
  relu2(cosines) {
    const positive = relu(cosines);
    return mul(positive, positive);
  },
  yoso: (cosines, branch) => collision(cosines, collisionBits(branch)),
};

/** The decoder's attention to an encoded text. */
export const t5LinearCross: CrossForm<T5LinearMixer> = {
  tensors(config, { keyValueHeads, headWidth, valueWidth = headWidth }) {
    requireGlobal(config);
    return { sums: [keyValueHeads, headWidth, valueWidth] };
  },
  /** The global branch's sum over a text: Σ k̂ᵀv̂ [B,M,D,E]. */
  memory(config, { k, v, mask }) {
    requireGlobal(config);
    return { sums: crossSums(k, v, mask) };
  },
  read: (_, q, { sums }, { global_factor: alpha }) => postNorm(readSums(q, sums, alpha)),
  whole(config, input) {
    const { q, k, v, mask, parameters } = input;
    const branches: Value[] = [];
    if (config.local !== null)
      branches.push(scaled(alignedGroups(config, config.local, input), parameters.local_factor));
    if (config.global !== null) branches.push(readSums(q, crossSums(k, v, mask), parameters.global_factor));
    return postNorm(addAll(branches));
  },
};

function crossSums(k: Value, v: Value, mask: Value): Value {
  return textSums(nodeRows(unitLength(k)), nodeRows(unitLength(v)), mask);
}

/** [B,n,H,E] */
function readSums(q: Value, sums: Value, alpha: Value | undefined): Value {
  const heads = new HeadLayout(q, Number(sums.shape[1]));
  return heads.split(scaled(matmul(heads.join(unitLength(heads.queries)), sums), alpha));
}

/** @throws LinnetError `CONFIG` for a local branch, which has no memory of a text */
function requireGlobal({ local }: T5LinearMixer): void {
  if (local === null) return;
  throw new LinnetError(
    'CONFIG',
    'the local branch of a cross attention pairs groups of two texts of equal length and cannot generate a text; ' +
      'use a global branch alone',
  );
}

/**
 * The paper's local branch between two texts: group c of one reads group c of the other. [B,n,H,E]
 * @throws LinnetError `SHAPE` for texts of different length
 */
function alignedGroups(config: T5LinearMixer, local: LocalBranch, input: BidirectionalInput): Value {
  const { q, k, mask } = input;
  if (q.shape[1] !== k.shape[1]) {
    throw new LinnetError(
      'SHAPE',
      `a local branch between texts needs texts of equal length, got ${q.shape[1]} and ${k.shape[1]} tokens; ` +
        'use a global branch alone',
    );
  }
  const grouping = groupingOf(input, config.group);
  const tokens = reshape(mask, [grouping.batch, grouping.length, 1, 1]);
  const grouped = unitGroups(grouping, { ...input, k: mul(k, tokens) });
  const unscaled = { ...input, parameters: {}, scoring: { scale: input.scoring.scale } };
  return ungroupQueries(grouping, localBranch(local, grouping, unscaled, grouped, groupMask(grouping, mask)));
}

// The same over token trees, on top of a state. Rows are stored as projected.

export const t5LinearRecurrent: RecurrentForm<T5LinearMixer> = {
  /** The ring, and S = Σ k̂ᵀv̂ with a global branch. */
  state: (config, dims) => linearRecurrent.state(linearForm(config), dims),
  step(config, input) {
    const { heads, sums, parameters } = input;
    const { keys, values, all: blocks } = nodeBlocks(input);
    const unitBlocks = blocks.map((block) => ({ ...block, values: unitLength(block.values) }));
    const unitQueries = heads.join(unitLength(heads.queries));
    const cosines = blocks.map((block) => matmul(unitQueries, unitLength(block.keys), { transposeB: true }));
    const branches: Value[] = [];
    if (config.local !== null) {
      const weights = biasedWeights(config.local, input, blocks, cosines);
      branches.push(scaled(weightedValues(unitBlocks, weights), parameters.local_factor));
    }
    if (config.global !== null && sums !== undefined) {
      let read = matmul(unitQueries, sums);
      if (!input.withinFolds) {
        const open = blocks.map(({ masks }, i) => mul(cosines[i], heads.tile(masks.earlier)));
        read = add(weightedValues(unitBlocks, open), read);
      }
      branches.push(scaled(read, parameters.global_factor));
    }
    const normed = heads.of(postNorm(heads.split(addAll(branches))));
    return { mixed: addStepConvolution(normed.join(normed.queries), input, blocks), keys, values };
  },
  /** S ← S + Σ k̂ᵀv̂ over rows of closed groups. */
  fold: {
    shareAs: () => 't5 linear',
    fold: (_, { keys, values, sums }) => add(sums, matmul(unitLength(keys), unitLength(values), { transposeA: true })),
  },
  sameBits: () => 'open rows',
};

/** Weights of rows in the current group: [B,M,R·T,rows] for each block. */
function biasedWeights(
  branch: LocalBranch,
  input: StepInput,
  blocks: readonly StepBlock[],
  cosines: readonly Value[],
): Value[] {
  const weigh = ofCosines[branch.kernel];
  if (weigh === undefined) return localWeights(branch, input, blocks, cosines);
  const { heads, horizon } = input;
  const { bias } = input.scoring;
  return blocks.map(({ masks }, i) => {
    const weights = weigh(cosines[i], branch);
    const sum = bias === undefined ? weights : add(weights, biasOfRows(bias, masks.offsets, horizon.reach, heads));
    return mul(sum, heads.tile(masks.same));
  });
}
