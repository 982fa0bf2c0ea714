/** How FLASH mixes the positions of whole sequences: by groups, or over all pairs of positions for the baselines. */
import { convolveGroups } from '../../attention/convolution.ts';
import { type Grouping, groupKeys, makeGrouping, ungroupQueries } from '../../attention/grouping.ts';
import { castle, hiddenScore } from '../../attention/parallel.ts';
import type { Value } from '../../graph/graph.ts';
import { add, addAll, mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { sum } from '../../graph/ops/reduce.ts';
import { cumulativeSum } from '../../graph/ops/scan.ts';
import { softmax } from '../../graph/ops/softmax.ts';
import { float32 } from '../../graph/tensor.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { type FlashConfig, flashValueWidth } from './config.ts';
import { type UnitPositions, weighted } from './gated-unit.ts';
import { biasBuckets, relativeBias } from './relative-bias.ts';

/**
 * Mixes positions.
 *
 * @param source scoped to the layer
 * @param keyMask float32 [B,n], 0 for keys that are padding; values and the convolution see them all the same
 * @returns [B,n,E]
 */
export function mixUnit(
  config: FlashConfig,
  source: ParameterSource,
  unit: UnitPositions,
  keyMask: Value | undefined,
): Value {
  return config.attention === 'mixed'
    ? mixGroups(config, source, unit, keyMask)
    : mixAllPairs(config, source, unit, keyMask);
}

function mixGroups(
  config: FlashConfig,
  source: ParameterSource,
  { rows: [localQuery, globalQuery, localKey, globalKey], v }: UnitPositions,
  keyMask: Value | undefined,
): Value {
  const [B, n] = v.shape.map(Number);
  const grouping = makeGrouping(B, n, config.group_size, 1, 1);
  const rows = (x: Value): Value => groupKeys(grouping, x); // [B,n,1,·] → [1,B·N,G,·]
  const mask = keyMask === undefined ? undefined : reshape(keyMask, [B, n, 1, 1]);
  const values = rows(v);
  const branches: Value[] = [];
  if (config.local) {
    const keyed = mask === undefined ? undefined : rows(mask);
    branches.push(localBranch(config, source, grouping, rows(localQuery), rows(localKey), values, keyed));
  }
  if (config.global) {
    const keys = mask === undefined ? globalKey : mul(globalKey, mask);
    branches.push(globalBranch(config, grouping, rows(globalQuery), rows(keys), values));
  }
  let mixed = addAll(branches);
  if (config.castling) mixed = castle(mixed, values);
  if (config.convolution !== null) {
    const taps = source.parameter('dwconv.weight', [1, 1, config.convolution, 1]);
    mixed = add(mixed, convolveGroups(grouping, values, taps, true));
  }
  return reshape(ungroupQueries(grouping, mixed), [B, n, flashValueWidth(config)]);
}

/** Σ φ(q·k/G + bias)·v over the own group; hidden keys count 0 after φ, as φ(0) need not be 0. [1,B·N,G,E] */
function localBranch(
  config: FlashConfig,
  source: ParameterSource,
  { batch: B, group: G, groups: N }: Grouping,
  queries: Value,
  keys: Value,
  values: Value,
  keyMask: Value | undefined,
): Value {
  const scores = mul(matmul(queries, keys, { transposeB: true }), 1 / config.group_size); // [1,B*N,G,G]
  let weights = weighted(config, add(scores, bias(config, source, G)));
  if (config.causal) weights = mul(weights, triangle(queries, G));
  if (keyMask !== undefined) weights = mul(weights, reshape(keyMask, [1, B * N, 1, G]));
  return matmul(weights, values);
}

/** q · Σ kᵀv/G over earlier groups; without causality Σ kᵀv/n over all groups, or the own one. [1,B·N,G,E] */
function globalBranch(
  { query_key_dim: S, group_size, causal, reduce_groups }: FlashConfig,
  { batch: B, groups: N, length }: Grouping,
  queries: Value,
  keys: Value,
  values: Value,
): Value {
  const E = values.shape[3];
  const products = mul(matmul(keys, values, { transposeA: true }), 1 / (causal ? group_size : length)); // [1,B*N,S,E]
  if (!causal && !reduce_groups) return matmul(queries, products);
  const perGroup = reshape(products, [B, N, S, E]);
  if (causal) {
    const earlier = cumulativeSum(perGroup, 1, { exclusive: true });
    return matmul(queries, reshape(earlier, [1, B * N, S, E]));
  }
  const G = queries.shape[2];
  const mixed = matmul(reshape(queries, [B, N, G, S]), sum(perGroup, [1], true)); // [B,N,G,E]
  return reshape(mixed, [1, B * N, G, E]);
}

/** The whole-sequence baselines: softmax(q·k/n + bias) or φ of it. [B,n,E] */
function mixAllPairs(
  config: FlashConfig,
  source: ParameterSource,
  { rows: [query, key], v }: UnitPositions,
  keyMask: Value | undefined,
): Value {
  const { query_key_dim: S, causal, attention } = config;
  const [B, n] = v.shape.map(Number);
  const products = matmul(reshape(query, [B, n, S]), reshape(key, [B, n, S]), { transposeB: true });
  const scores = add(mul(products, 1 / n), bias(config, source, n)); // [B,n,n]
  const visible = [
    ...(causal ? [triangle(scores, n)] : []),
    ...(keyMask === undefined ? [] : [reshape(keyMask, [B, 1, n])]),
  ];
  const values = reshape(v, [B, n, flashValueWidth(config)]);
  if (attention === 'softmax') {
    const hidden = visible.map((mask) => mul(sub(1, mask), hiddenScore));
    return matmul(softmax(addAll([scores, ...hidden])), values);
  }
  const weights = weighted(config, attention === 'square' ? scores : mul(scores, 1 / n));
  return matmul(
    visible.reduce((product, mask) => mul(product, mask), weights),
    values,
  );
}

function bias({ query_key_dim, causal }: FlashConfig, source: ParameterSource, length: number): Value {
  const table = source.parameter('rel_pos_bias.relative_attention_bias.weight', [biasBuckets, 1]);
  return relativeBias(table, length, query_key_dim, causal);
}

/** [n,n]: 1 where key j ≤ query i. */
function triangle({ graph }: Value, n: number): Value {
  return graph.sharedConstant(`flash causal mask n=${n}`, () =>
    float32(
      [n, n],
      Float32Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) ? 1 : 0)),
    ),
  );
}
