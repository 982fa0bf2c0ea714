/**
 * FLASH one token at a time, on top of a state of constant size.
 *
 * With C = max(G, P) rows kept and P the reach of the convolution, one sequence:
 *
 * | input | type | content |
 * |---|---|---|
 * | `tokens` | int32 [1,1] | the token |
 * | `sinusoids`, `cos`, `sin` | float32 [1,1,·] | what `FlashPositions` makes of its position |
 * | `same` | float32 [1,C+1] | 1 for kept rows of the token's group; the last column is the token itself, always 1 |
 * | `buckets` | int32 [C+1] | bias bucket of every row's distance |
 * | `lags` | int32 [C+1] | distance, or P + 1 for rows the convolution does not reach |
 * | `shift.i` | float32 [1,1,D/2] | first half of the previous token's normalized features in layer i |
 * | `keys.i`, `values.i` | float32 [C,S], [C,E] | local keys and values of the rows |
 * | `sums.i` | float32 [S,E] | Σ kᵀv/G over the groups that have closed |
 *
 * Outputs: `logits` [V] and, per layer, `shifts` [L,D/2], `localKeys` and `globalKeys` [L,S] and `values` [L,E], the rows
 * that the token adds. Inputs that a configuration does not need do not exist in its compiled graph.
 */
import { tapsByLag } from '../../attention/convolution.ts';
import { convolutionReach } from '../../attention/mixer.ts';
import { castle } from '../../attention/parallel.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { add, addAll, mul } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { concat, reshape } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { configError } from '../config-fields.ts';
import { type FlashConfig, flashValueWidth } from './config.ts';
import { type UnitPositions, weighted } from './gated-unit.ts';
import { FlashPositions, flashNetwork } from './model.ts';
import { biasBuckets } from './relative-bias.ts';

/** P: how far the convolution looks back; −1 without one. */
export function flashReach({ convolution }: FlashConfig): number {
  return convolution === null ? -1 : convolutionReach(convolution);
}

/** C: rows that a state keeps. */
export function flashRing(config: FlashConfig): number {
  return Math.max(config.group_size, flashReach(config));
}

/**
 * Builds the step graph.
 * @throws LinnetError `CONFIG` for configurations without a recurrent form: those that are not causal, and the
 *   whole-sequence baselines, whose 1/n changes every weight with every token
 */
export function flashStepGraph(config: FlashConfig, makeSource: (graph: Graph) => ParameterSource): Graph {
  if (!config.causal || config.attention !== 'mixed') {
    const found = config.causal ? `attention "${config.attention}"` : 'causal false';
    throw configError('FLASH', [`${found} has no recurrent form: only causal models with attention "mixed" decode`]);
  }
  const { dim: D, query_key_dim: S, depth: L, vocab_size: V } = config;
  const E = flashValueWidth(config);
  const C = flashRing(config);
  const graph = new Graph('flash step');
  const source = makeSource(graph);
  const tokens = graph.input('tokens', 'int32', [1, 1]);
  const positions = Object.fromEntries(
    Object.entries(new FlashPositions(config).values).map(([name, { dtype, shape }]) => [
      name,
      graph.input(name, dtype, [1, 1, ...shape]),
    ]),
  );
  const places: RowPlaces = {
    same: graph.input('same', 'float32', [1, C + 1]),
    buckets: graph.input('buckets', 'int32', [C + 1]),
    lags: graph.input('lags', 'int32', [C + 1]),
  };
  const rows: Record<'shifts' | 'localKeys' | 'globalKeys' | 'values', Value[]> = {
    shifts: [],
    localKeys: [],
    globalKeys: [],
    values: [],
  };
  const logits = flashNetwork(config, source, tokens, positions, {
    shift(layer, half) {
      rows.shifts.push(reshape(half, [1, D / 2]));
      return graph.input(`shift.${layer}`, 'float32', [1, 1, D / 2]);
    },
    mix(layer, own, unit) {
      const [, , localKey, globalKey] = unit.rows;
      rows.localKeys.push(reshape(localKey, [1, S]));
      rows.globalKeys.push(reshape(globalKey, [1, S]));
      rows.values.push(reshape(unit.v, [1, E]));
      const mixed = mixRows(config, own, unit, places, {
        keys: graph.input(`keys.${layer}`, 'float32', [C, S]),
        values: graph.input(`values.${layer}`, 'float32', [C, E]),
        sums: graph.input(`sums.${layer}`, 'float32', [S, E]),
      });
      return reshape(mixed, [1, 1, E]);
    },
  });
  graph.output('logits', reshape(logits, [V]));
  for (const [name, values] of Object.entries(rows)) if (values.length === L) graph.output(name, concat(values, 0));
  return graph;
}

/** Where the kept rows and the token stand. */
interface RowPlaces {
  readonly same: Value;
  readonly buckets: Value;
  readonly lags: Value;
}

/** [1,E] */
function mixRows(
  config: FlashConfig,
  source: ParameterSource,
  { rows, v }: UnitPositions,
  { same, buckets, lags }: RowPlaces,
  state: { readonly keys: Value; readonly values: Value; readonly sums: Value },
): Value {
  const { query_key_dim: S, group_size: G } = config;
  const [localQuery, globalQuery, localKey] = rows.map((row) => reshape(row, [1, S]));
  const value = reshape(v, [1, flashValueWidth(config)]);
  const values = concat([state.values, value], 0); // [C+1,E]
  const branches: Value[] = [];
  if (config.local) {
    const products = matmul(localQuery, concat([state.keys, localKey], 0), { transposeB: true }); // [1,C+1]
    const table = source.parameter('rel_pos_bias.relative_attention_bias.weight', [biasBuckets, 1]);
    const bias = mul(reshape(gather(table, buckets), same.shape), Math.sqrt(S));
    branches.push(matmul(mul(weighted(config, add(mul(products, 1 / G), bias)), same), values));
  }
  if (config.global) branches.push(matmul(globalQuery, state.sums));
  const mixed = config.castling ? castle(addAll(branches), value) : addAll(branches);
  if (config.convolution === null) return mixed;
  const taps = tapsByLag(source.parameter('dwconv.weight', [1, 1, config.convolution, 1])); // [1,P+2]
  return add(mixed, matmul(gather(taps, lags, 1), values));
}

/** Σ + kᵀv/G over the rows of a group that has closed: `keys` [G,S], `values` [G,E], `sums` [S,E] → `folded`. */
export function flashFoldGraph(config: FlashConfig): Graph {
  const { query_key_dim: S, group_size: G } = config;
  const E = flashValueWidth(config);
  const graph = new Graph('flash fold');
  const keys = graph.input('keys', 'float32', [G, S]);
  const values = graph.input('values', 'float32', [G, E]);
  const sums = graph.input('sums', 'float32', [S, E]);
  graph.output('folded', add(sums, mul(matmul(keys, values, { transposeA: true }), 1 / G)));
  return graph;
}
