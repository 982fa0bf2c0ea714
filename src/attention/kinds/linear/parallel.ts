/**
 * The linear kind over whole sequences, group by group: the local branch is a [G,G] product inside each group, the global
 * branch multiplies by an exclusive prefix sum over the groups' k̂ᵀv. Cost per position is constant in n.
 */
import type { Value } from '../../../graph/graph.ts';
import { collision } from '../../../graph/ops/surrogate-gradient.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { addAll, mul } from '../../../graph/ops/elementwise.ts';
import { zeros } from '../../../graph/tensor.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { maskedReluSquared } from '../../../graph/ops/activations.ts';
import { type AttentionMask, causalAttention, fullAttention } from '../../attention-mask.ts';
import { addGroupedConvolution } from '../../convolution.ts';
import {
  groupingOf,
  groupKeys,
  groupQueries,
  makeGrouping,
  repeatedShape,
  repeatValues,
  ungroupQueries,
} from '../../grouping.ts';
import type { BidirectionalInput, SequenceInput } from '../../mixer.ts';
import { boundedLength, castle, dividedBySum, scaled } from '../../normalization.ts';
import { scoresInGroups } from '../../scoring.ts';
import { softmaxInGroups } from '../../softmax.ts';
import { collisionBits, fadeOf, type LinearBranches, type LocalKernel } from './config.ts';

/** The causal form: [B,n,H,E]. */
export function linearParallel(config: LinearBranches, input: SequenceInput): Value {
  const grouping = groupingOf(input, config.group);
  const attention = attendGroups(config, causalAttention(grouping), input);
  const mixed = addGroupedConvolution(config.convolution, attention, grouping, input.v, input.parameters);
  const nothing = (): Value =>
    input.q.graph.constant(zeros('float32', repeatedShape(grouping, Number(input.v.shape[3]))));
  return ungroupQueries(grouping, mixed ?? nothing());
}

/**
 * The form of an encoder, or of attention to another text, without the convolution: the local branch over all tokens of the
 * own group, the global branch over the other groups, or over the whole text where there is no local branch.
 * [B,m,H,E]; undefined where there is nothing to read.
 */
export function linearOfWhole(config: LinearBranches, input: BidirectionalInput): Value | undefined {
  const { q, k, mask } = input;
  const [batch, queryLength, heads] = q.shape.map(Number);
  const [, length, keyValueHeads] = k.shape.map(Number);
  const grouped = config.local !== null;
  const group = grouped ? config.group : Number.POSITIVE_INFINITY;
  const queries = makeGrouping(batch, queryLength, group, heads, keyValueHeads);
  const keys = makeGrouping(batch, length, group, heads, keyValueHeads);
  const mixed = attendGroups(config, fullAttention(queries, keys, mask, grouped), input);
  return mixed === undefined ? undefined : ungroupQueries(queries, mixed);
}

/**
 * λ·local + α·global, with the norms between them and castling, but without the convolution. [M,B·N,R·G,E]; undefined
 * where there is nothing to read: a global branch alone sees nothing from the first group.
 */
function attendGroups(config: LinearBranches, mask: AttentionMask, input: SequenceInput): Value | undefined {
  const { q, k, v, parameters } = input;
  const values = groupKeys(mask.keys, v);
  const unitQueries = groupQueries(mask.queries, unitLength(q));
  const unitKeys = groupKeys(mask.keys, unitLength(k));

  const branches: Value[] = [];
  if (config.local !== null) {
    const branch = config.local;
    const cosines = (): Value => matmul(unitQueries, unitKeys, { transposeB: true }); // [M,B*N,R*G,G]
    const visible = (): Value => mask.visible(unitQueries);
    const weighted = (weights: Value): Value =>
      matmul(config.normalize === 'local' ? dividedBySum([weights])[0] : weights, values);
    const kernels: Readonly<Record<LocalKernel, () => Value>> = {
      relu2: () => weighted(maskedReluSquared(cosines(), visible())),
      'relu2-raw': () => weighted(maskedReluSquared(scoresInGroups(mask, input), visible())),
      softmax: () => softmaxInGroups(mask, input),
      yoso: () => weighted(mul(collision(cosines(), collisionBits(branch)), visible())),
    };
    branches.push(scaled(kernels[branch.kernel](), parameters.local_factor));
  }
  const global = config.global === null ? undefined : mask.outside(unitQueries, unitKeys, values, fadeOf(config));
  if (global !== undefined) {
    branches.push(scaled(config.normalize === 'global' ? boundedLength(global) : global, parameters.global_factor));
  }
  let mixed = branches.length === 0 ? undefined : addAll(branches);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  return config.castling ? castle(mixed, repeatValues(mask.keys, values)) : mixed;
}
