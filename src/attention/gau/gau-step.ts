/** FLASH's attention over token trees, on top of the state of the committed prefix. */
import type { Value } from '../../graph/graph.ts';
import { add, addAll, div, maximum, mul, sub } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { max, sum } from '../../graph/ops/reduce.ts';
import { exp } from '../../graph/ops/unary.ts';
import type { HeadLayout } from '../head-layout.ts';
import { hiddenScore } from '../sight.ts';
import { horizonOf } from '../masks.ts';
import type { GauMixer } from '../mixer-config.ts';
import type { MixerParameterValues } from '../mixer-values.ts';
import { type Block, type StepState, weightedValues } from '../step-blocks.ts';
import { branchRows, scoreDivisors } from './gau-rows.ts';
import { biasByLag } from './relative-bias.ts';
import { unitWeights } from './unit-kernel.ts';

/** The mixer without castling and convolution; undefined for a convolution alone. [B,M,R·T,E] */
export function gauStep(
  config: GauMixer,
  blocks: readonly Block[],
  heads: HeadLayout,
  state: StepState,
  parameters: MixerParameterValues,
): Value | undefined {
  const queries = branchRows(config, heads.join(heads.queries)); // [B,M,R*T,S]
  const keys = blocks.map((block) => branchRows(config, block.keys)); // [B,M,rows,S]
  const branches: Value[] = [];
  if (config.local !== null) {
    const scores = keys.map(({ local }, i) =>
      biasedScores(config, matmul(queries.local, local, { transposeB: true }), blocks[i], heads, parameters),
    );
    branches.push(weightedValues(blocks, localWeights(config, scores, blocks, heads)));
  }
  if (config.global) {
    const scaled = mul(queries.global, 1 / (config.group ?? 1));
    const weights = keys.map(({ global }, i) =>
      mul(matmul(scaled, global, { transposeB: true }), heads.tile(blocks[i].masks.earlier)),
    );
    branches.push(weightedValues(blocks, weights));
    if (state.sums !== undefined) branches.push(matmul(scaled, state.sums));
  }
  return branches.length === 0 ? undefined : addAll(branches);
}

/** q·k/divisor + bias/biasDivisor: [B,M,R·T,rows]. */
function biasedScores(
  config: GauMixer,
  products: Value,
  { masks }: Block,
  heads: HeadLayout,
  parameters: MixerParameterValues,
): Value {
  const { product, bias: biasDivisor } = scoreDivisors(config);
  const table = parameters['rel_pos_bias.relative_attention_bias.weight'];
  const scores = mul(products, 1 / product);
  if (table === undefined) return scores;
  const width = Number(heads.queries.shape[4]) / (config.global ? 2 : 1);
  const byLag = mul(biasByLag(table, horizonOf(config).reach, width), 1 / biasDivisor);
  const [B, T, rows] = masks.lags.shape;
  const bias = reshape(gather(byLag, masks.lags), [B, 1, T, rows]); // one for all heads
  return add(scores, heads.tile(bias));
}

/** Weights of the keys in the own group. */
function localWeights(
  { local }: GauMixer,
  scores: readonly Value[],
  blocks: readonly Block[],
  heads: HeadLayout,
): readonly Value[] {
  const kernel = local?.kernel ?? 'laplace';
  if (kernel !== 'softmax') {
    return scores.map((score, i) => mul(unitWeights(kernel, score), heads.tile(blocks[i].masks.same)));
  }
  const hidden = scores.map((score, i) => {
    const bias = mul(sub(blocks[i].masks.same, 1), -hiddenScore); // 0 where visible
    return add(score, heads.tile(bias));
  });
  const largest = hidden.map((score) => max(score, [-1], true)).reduce((a, b) => maximum(a, b));
  const exponentials = hidden.map((score) => exp(sub(score, largest)));
  const total = addAll(exponentials.map((exponential) => sum(exponential, [-1], true)));
  return exponentials.map((exponential) => div(exponential, total));
}

/**
 * S ← S + Σ kᵀv over rows of groups that have closed; queries are divided by G when they read it.
 *
 * @param keys [X,n,2S] or [X,n,S]
 * @param values [X,n,E]
 * @param sums [X,S,E]
 */
export function foldUnit(config: GauMixer, keys: Value, values: Value, sums: Value): Value {
  return add(sums, matmul(branchRows(config, keys).global, values, { transposeA: true }));
}
