/**
 * Grouped linear attention as the paper has it in T5. It differs from that of decoders: values are of unit length too,
 * the relative bias is added to the weights after the activation, and the heads' outputs together are divided by their
 * length. For one head, query i and key j:
 *
 *     local_i  = Σ (max(q̂_i·k̂_j, 0)² + b_{i−j})·v̂_j   over the own group; in the decoder up to i
 *     global_i = Σ (q̂_i·k̂_j)·v̂_j                     over all groups, the own one included; in the decoder earlier ones
 *     o        = x / (1e-4 + ‖x‖),  x = local + α·global, over all heads of a position
 *     o_i     += Σ_τ w[P−τ]·v_{i−τ}                    on values as projected; in the encoder τ from −P to P
 *
 * Between encoder and decoder there is neither bias nor convolution, and groups of the two texts have nothing to do with
 * each other: the global branch reads all of the text. (The paper's code also has a local branch there, from each group
 * to the group of the same number, for texts of equal length.)
 */
import { collisionBits, groupOf, type LinearMixer, type LocalKernel } from '../../attention/mixer.ts';
import { boundedLength } from '../../attention/bounded-length.ts';
import { convolveGroups } from '../../attention/convolution.ts';
import {
  causalMask,
  earlierSums,
  groupKeys,
  type Grouping,
  groupQueries,
  makeGrouping,
  ungroupQueries,
} from '../../attention/grouping.ts';
import type { MixerParameterValues, ProjectedPositions } from '../../attention/mixer-values.ts';
import { hiddenScore } from '../../attention/parallel.ts';
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { collision } from '../../graph/ops/collision.ts';
import { add, addAll, mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { unitLength } from '../../graph/ops/normalization.ts';
import { softmax } from '../../graph/ops/softmax.ts';
import { relu } from '../../graph/ops/unary.ts';

/** ε of the division by the length of all heads' outputs. */
const postNormEpsilon = 1e-4;

/** What the encoder and the decoder mix: q, k and v [B,n,H,D]. */
export interface LinearSelf extends ProjectedPositions {
  /** float32 [B,n]: 0 for padding. */
  readonly mask?: Value;
  readonly parameters: MixerParameterValues;
  /** The relative bias [H,G,G] of the positions of a group of G. */
  bias(length: number): Value;
}

/** Self-attention of the encoder. @param padding what the convolution finds in place of padding @returns [B,n,H,D] */
export function linearEncoder(config: LinearMixer, self: LinearSelf, padding: 'zero' | 'read'): Value {
  const { v, mask, parameters } = self;
  const grouping = groupingOf(config, self);
  const k = masked(self.k, mask);
  const q = groupQueries(grouping, unitLength(self.q)); // [H,B*N,G,D]
  const keys = groupKeys(grouping, unitLength(k));
  const values = groupKeys(grouping, unitLength(v));
  const branches: Value[] = [];
  if (config.local !== null) {
    const visible = mask === undefined ? undefined : groupedMask(grouping, mask);
    branches.push(localBranch(config.local, grouping, self, { q, keys, values }, visible));
  }
  if (config.global !== null) {
    const { batch: B, group: G, groups: N, keyValueHeads: H } = grouping;
    const D = Number(keys.shape[3]);
    const whole = (x: Value): Value => reshape(x, [H, B, N * G, D]);
    const sums = matmul(whole(keys), whole(values), { transposeA: true }); // [H,B,D,D]
    branches.push(scaled(reshape(matmul(whole(q), sums), [H, B * N, G, D]), parameters.global_factor));
  }
  const read = padding === 'read' ? v : masked(v, mask);
  const mixed = postNorm(ungroupQueries(grouping, addAll(branches)));
  return convolved(grouping, mixed, read, parameters, 'both sides');
}

/** Self-attention of the decoder. The mask hides keys from the local branch. @returns [B,n,H,D] */
export function linearDecoder(config: LinearMixer, self: LinearSelf): Value {
  const { v, mask, parameters } = self;
  const grouping = groupingOf(config, self);
  const q = groupQueries(grouping, unitLength(self.q)); // [H,B*N,G,D]
  const keys = groupKeys(grouping, unitLength(self.k));
  const values = groupKeys(grouping, unitLength(v));
  const branches: Value[] = [];
  if (config.local !== null) {
    const past = causalMask(grouping, q, 1, 0); // [G,G]
    const visible = mask === undefined ? past : mul(groupedMask(grouping, mask), past);
    branches.push(localBranch(config.local, grouping, self, { q, keys, values }, visible));
  }
  if (config.global !== null) {
    branches.push(scaled(matmul(q, earlierSums(grouping, keys, values)), parameters.global_factor));
  }
  const mixed = postNorm(ungroupQueries(grouping, addAll(branches)));
  return convolved(grouping, mixed, v, parameters, 'past');
}

/** What the global branch keeps of a text: Σ k̂ᵀv̂ [B,H,D,D]. `k` and `v` [B,m,H,D], `mask` [B,m]. */
export function linearCrossSums(k: Value, v: Value, mask: Value): Value {
  const [keys, values] = [masked(k, mask), v].map((x) => transpose(unitLength(x), [0, 2, 1, 3])); // [B,H,m,D]
  return matmul(keys, values, { transposeA: true });
}

/** Reads `linearCrossSums` with queries [B,n,H,D]. @returns [B,n,H,D], before the post-norm */
export function readCrossSums(q: Value, sums: Value | undefined, alpha: Value | undefined): Value {
  if (sums === undefined) throw new LinnetError('INTERNAL', 'internal: a global branch without its sums');
  const read = matmul(transpose(unitLength(q), [0, 2, 1, 3]), sums); // [B,H,n,D]
  return scaled(transpose(read, [0, 2, 1, 3]), alpha);
}

/**
 * The decoder's attention to an encoded text: q [B,n,H,D]; k and v [B,m,H,D] with mask [B,m].
 * @returns [B,n,H,D]
 * @throws LinnetError `SHAPE` for a local branch between texts of different length
 */
export function linearCross(
  config: LinearMixer,
  { q, k, v }: ProjectedPositions,
  mask: Value,
  parameters: MixerParameterValues,
): Value {
  const branches: Value[] = [];
  if (config.local !== null) branches.push(scaled(alignedGroups(config, { q, k, v }, mask), parameters.local_factor));
  if (config.global !== null) branches.push(readCrossSums(q, linearCrossSums(k, v, mask), parameters.global_factor));
  return postNorm(addAll(branches));
}

/** The local branch of the paper's code between two texts: group c of one reads group c of the other. [B,n,H,D] */
function alignedGroups(config: LinearMixer, { q, k, v }: ProjectedPositions, mask: Value): Value {
  if (config.local === null || q.shape[1] !== k.shape[1]) {
    throw new LinnetError(
      'SHAPE',
      `a local branch between texts needs texts of equal length, got ${q.shape[1]} and ${k.shape[1]} tokens; ` +
        'use a global branch alone',
    );
  }
  const grouping = groupingOf(config, { q });
  const keys = groupKeys(grouping, unitLength(masked(k, mask)));
  const unitQueries = groupQueries(grouping, unitLength(q));
  const raw = rawScores(grouping, { q, k });
  const weights = localWeights(config.local, { q: unitQueries, keys, raw }, groupedMask(grouping, mask));
  return ungroupQueries(grouping, matmul(weights, groupKeys(grouping, unitLength(v))));
}

/** x / (1e-4 + ‖x‖) over all heads of a position. [B,n,H,D]; B and n may be named. */
export function postNorm(x: Value): Value {
  const [B, n, H, D] = x.shape;
  return reshape(boundedLength(reshape(x, [B, n, Number(H) * Number(D)]), postNormEpsilon), [B, n, H, D]);
}

/** The local branch of self-attention, λ applied: [H,B*N,G,D], of `grouped` of that shape and unit length. */
function localBranch(
  local: NonNullable<LinearMixer['local']>,
  grouping: Grouping,
  self: LinearSelf,
  grouped: { readonly q: Value; readonly keys: Value; readonly values: Value },
  visible: Value | undefined,
): Value {
  const scores = { q: grouped.q, keys: grouped.keys, raw: rawScores(grouping, self) };
  const weights = localWeights(local, scores, visible, self.bias(grouping.group));
  return scaled(matmul(weights, grouped.values), self.parameters.local_factor);
}

interface LocalScores {
  /** [H,B*N,G,D], of unit length. */
  readonly q: Value;
  readonly keys: Value;
  /** q·k as projected. */
  readonly raw: () => Value;
}

/** [H,B*N,G,G]. `visible` broadcasts to that. */
function localWeights(
  { kernel, bits }: NonNullable<LinearMixer['local']>,
  { q, keys, raw }: LocalScores,
  visible?: Value,
  bias?: Value,
): Value {
  const [H, , G] = q.shape;
  const perHead = bias && reshape(bias, [H, 1, G, G]);
  const biased = (x: Value): Value => (perHead === undefined ? x : add(x, perHead));
  const seen = (x: Value): Value => (visible === undefined ? x : mul(x, visible));
  const cosines = (): Value => matmul(q, keys, { transposeB: true });
  const kernels: Readonly<Record<LocalKernel, () => Value>> = {
    relu2: () => {
      const positive = relu(cosines());
      return seen(biased(mul(positive, positive)));
    },
    yoso: () => seen(biased(collision(cosines(), collisionBits({ bits })))),
    // As softmax attention in T5: no scaling, and the bias belongs to the scores.
    softmax: () => {
      const scores = biased(raw());
      return softmax(visible === undefined ? scores : add(scores, mul(sub(visible, 1), -hiddenScore)));
    },
  };
  return kernels[kernel]();
}

function rawScores(grouping: Grouping, { q, k }: Pick<ProjectedPositions, 'q' | 'k'>): () => Value {
  return () => matmul(groupQueries(grouping, q), groupKeys(grouping, k), { transposeB: true });
}

function groupingOf(config: LinearMixer, { q }: Pick<ProjectedPositions, 'q'>): Grouping {
  const [batch, length, heads] = q.shape.map(Number);
  return makeGrouping(batch, length, groupOf(config), heads, heads);
}

/** A mask [B,n] for the keys of every group: [1,B*N,1,G]. */
function groupedMask(grouping: Grouping, mask: Value): Value {
  const { batch: B, length, group: G, groups: N } = grouping;
  const rows = groupKeys({ ...grouping, keyValueHeads: 1 }, reshape(mask, [B, length, 1, 1])); // [1,B*N,G,1]
  return reshape(rows, [1, B * N, 1, G]);
}

function masked(x: Value, mask: Value | undefined): Value {
  if (mask === undefined) return x;
  const [B, n] = x.shape;
  return mul(x, reshape(mask, [B, n, 1, 1]));
}

function scaled(branch: Value, factor: Value | undefined): Value {
  return factor === undefined ? branch : mul(branch, factor);
}

/** `mixed` [B,n,H,D] plus the convolution of the values, if the mixer has one. */
function convolved(
  grouping: Grouping,
  mixed: Value,
  values: Value,
  parameters: MixerParameterValues,
  reads: 'past' | 'both sides',
): Value {
  const taps = parameters['dwconv.weight'];
  if (taps === undefined) return mixed;
  const filtered = convolveGroups(grouping, groupKeys(grouping, values), taps, reads === 'past');
  return add(mixed, ungroupQueries(grouping, filtered));
}
