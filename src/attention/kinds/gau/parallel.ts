/** FLASH's attention over whole sequences: φ of biased scores inside each group, q·Σ kᵀv/G over earlier groups. */
import type { Value } from '../../../graph/graph.ts';
import { broadcastTo, matmul, sum } from '../../../graph/ops/contraction.ts';
import { add, addAll, mul } from '../../../graph/ops/elementwise.ts';
import { zeros } from '../../../graph/tensor.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { softmax } from '../../../graph/ops/normalization.ts';
import { relativeBias } from '../../../nn/relative-positions.ts';
import { groupMask, maskedScore, scoreBias } from '../../attention-mask.ts';
import { convolutionReach, filterName } from '../../convolution-config.ts';
import { addConvolution, addReachOfGroupBefore, weightsInGroup } from '../../convolution.ts';
import {
  causalMask,
  earlierSums,
  type Grouping,
  groupingOf,
  groupKeys,
  groupQueries,
  repeatRows,
  ungroupQueries,
} from '../../grouping.ts';
import type { BidirectionalInput, MixerParameterValues, SequenceInput } from '../../mixer.ts';
import { castle } from '../../normalization.ts';
import { branchRows, type GauMixer, scoreDivisors, unitBias, unitGroup, unitWeights } from './config.ts';

/** Visibility between positions. Default: causal. */
export interface UnitView {
  readonly causal: boolean;
  /** float32 [B,n], 0 for padding keys; values are summed by weight, so masking keys is enough. */
  readonly keyMask?: Value;
  /** For a global branch without causality: true sums all groups, false only the current one. */
  readonly reduceGroups: boolean;
}

const causalView: UnitView = { causal: true, reduceGroups: true };

/** The `gau` mixer over whole sequences, its convolution masked: [B,n,H,E]. */
export function unitParallel(config: GauMixer, input: SequenceInput, view: UnitView = causalView): Value {
  const grouping = groupingOf(input, unitGroup(config));
  const grouped = attendUnit(config, grouping, input, view);
  const [batch, length, heads] = input.q.shape.map(Number);
  const nothing = (): Value =>
    input.q.graph.constant(zeros('float32', [batch, length, heads, Number(input.v.shape[3])]));
  const mixed = grouped === undefined ? nothing() : ungroupQueries(grouping, grouped);
  if (convolutionRides(config, grouping, view)) return mixed;
  return addConvolution(config.convolution, mixed, grouping, input.v, input.parameters);
}

/** The encoder's form, without the convolution: [B,n,H,E]; undefined for a convolution alone. */
export function unitOfWhole(config: GauMixer, input: BidirectionalInput): Value | undefined {
  const grouping = groupingOf(input, unitGroup(config));
  const view = { causal: false, keyMask: input.mask, reduceGroups: true };
  const mixed = attendUnit(config, grouping, input, view);
  return mixed && ungroupQueries(grouping, mixed);
}

/**
 * Whether the convolution rides on the local branch's weights, which makes it almost free: both sum over the current group,
 * provided that nothing changes the attention before the convolution is added.
 */
function convolutionRides(config: GauMixer, { group: G }: Grouping, { causal }: UnitView): boolean {
  const { local, convolution, castling } = config;
  if (local === null || convolution === null || castling || !causal) return false;
  return convolution.masked && convolutionReach(convolution.kernel) < G;
}

/** The mixer, with its convolution only if it rides on the local branch; undefined if no branch contributes. [M,B·N,R·G,E] */
function attendUnit(
  config: GauMixer,
  grouping: Grouping,
  { q, k, v, parameters }: SequenceInput,
  view: UnitView,
): Value | undefined {
  const queries = branchRows(config, q);
  const keys = branchRows(config, k);
  const values = groupKeys(grouping, v);
  const mask = view.keyMask && groupMask(grouping, view.keyMask); // [B*N,1,G]
  const branches: Value[] = [];
  if (config.local !== null) {
    const rows = { q: groupQueries(grouping, queries.local), k: groupKeys(grouping, keys.local) };
    const weights = localWeights(config, grouping, rows, parameters, view.causal, mask);
    const filter = convolutionRides(config, grouping, view) ? parameters[filterName] : undefined;
    branches.push(
      filter === undefined
        ? matmul(weights, values)
        : addReachOfGroupBefore(
            grouping,
            matmul(add(weights, weightsInGroup(grouping, filter)), values),
            values,
            filter,
          ),
    );
  }
  if (config.global && (grouping.groups > 1 || !view.causal)) {
    const rows = groupKeys(grouping, keys.global);
    const seen = mask === undefined ? rows : mul(rows, reshape(mask, [mask.shape[0], grouping.group, 1]));
    branches.push(globalBranch(config, grouping, groupQueries(grouping, queries.global), seen, values, view));
  }
  const mixed = branches.length === 0 ? undefined : addAll(branches);
  return config.castling ? castle(mixed, repeatRows(grouping, values)) : mixed;
}

/** [M,B·N,R·G,G] */
function localWeights(
  config: GauMixer,
  grouping: Grouping,
  { q, k }: { readonly q: Value; readonly k: Value },
  parameters: MixerParameterValues,
  causal: boolean,
  mask: Value | undefined,
): Value {
  const { group: G } = grouping;
  const { product, bias: biasDivisor } = scoreDivisors(config);
  // Divides the queries, which are fewer numbers than the scores.
  const products = matmul(mul(q, 1 / product), k, { transposeB: true });
  const bias = unitBias(parameters, Number(k.shape[3]), biasDivisor, causal);
  const ofPairs = bias && reshape(relativeBias(bias.table, G, bias.scheme), [G, G]);
  const scores = ofPairs === undefined ? products : add(products, repeated(ofPairs, grouping));
  const kernel = config.local?.kernel ?? 'laplace';
  if (kernel === 'softmax') {
    const masks = [
      ...(causal ? [causalMask(grouping, q, 0, maskedScore)] : []),
      ...(mask === undefined ? [] : [scoreBias(mask)]),
    ];
    return softmax(addAll([scores, ...masks]));
  }
  const visible = [...(causal ? [causalMask(grouping, q, 1, 0)] : []), ...(mask === undefined ? [] : [mask])];
  return visible.reduce((weights, seen) => mul(weights, seen), unitWeights(kernel, scores));
}

/** Repeats [G,G] for each of the R query heads that share keys: [R·G,G]. */
function repeated(bias: Value, { repeat: R, group: G }: Grouping): Value {
  return reshape(broadcastTo(reshape(bias, [1, G, G]), [R, G, G]), [R * G, G]);
}

/** Causal: q·Σ kᵀv/G over earlier groups; else q·Σ kᵀv/n over all groups, or the current one. [M,B·N,R·G,E] */
function globalBranch(
  { group }: GauMixer,
  grouping: Grouping,
  queries: Value,
  keys: Value,
  values: Value,
  { causal, reduceGroups }: UnitView,
): Value {
  if (causal) return matmul(mul(queries, 1 / (group ?? 1)), earlierSums(grouping, keys, values));
  const { batch: B, groups: N, keyValueHeads: M, length } = grouping;
  const scaled = mul(queries, 1 / length);
  const products = matmul(keys, values, { transposeA: true }); // [M,B*N,S,E]
  if (!reduceGroups) return matmul(scaled, products);
  const [, , S, E] = products.shape;
  const [, , rows] = queries.shape;
  const all = sum(reshape(products, [M, B, N, S, E]), [2], true); // [M,B,1,S,E]
  return reshape(matmul(reshape(scaled, [M, B, N, rows, S]), all), [M, B * N, rows, E]);
}
