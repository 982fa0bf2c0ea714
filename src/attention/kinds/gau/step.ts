/** FLASH's attention over token trees, on top of the committed prefix's state. */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, mul } from '../../../graph/ops/elementwise.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import type { RecurrentForm, StepBlock, StepInput } from '../../mixer.ts';
import { castle } from '../../normalization.ts';
import { biasByOffset } from '../../scoring.ts';
import { spanOf } from '../../masks.ts';
import { ringState, sumsOfHeads } from '../../state.ts';
import { addStepConvolution, nodeBlocks, maskScores, softmaxOverRows, weightedValues } from '../../step-blocks.ts';
import { branchRows, type GauMixer, scoreDivisors, unitBias, unitGroup, unitRowWidth, unitWeights } from './config.ts';

export const unitRecurrent: RecurrentForm<GauMixer> = {
  /** The ring, with both branches' rows side by side, and the global branch's S = Σ kᵀv. */
  state(config, dims) {
    const { local, global, convolution } = config;
    const group = unitGroup(config);
    return ringState(dims, {
      group: local !== null || global ? group : 1,
      convolution,
      folded: global ? sumsOfHeads(dims, spanOf(group)) : null,
      keyWidth: unitRowWidth(config, dims.headWidth),
    });
  },
  step(config, input) {
    const { heads, sums } = input;
    const { keys, values, all: blocks } = nodeBlocks(input);
    const queries = branchRows(config, heads.joined); // [B,M,R*T,S]
    const blockKeys = blocks.map((block) => branchRows(config, block.keys)); // [B,M,rows,S]
    const branches: Value[] = [];
    if (config.local !== null) {
      const scores = blockKeys.map(({ local }, i) =>
        biasedScores(config, matmul(queries.local, local, { transposeB: true }), blocks[i], input),
      );
      branches.push(weightedValues(blocks, localWeights(config, scores, blocks, input)));
    }
    if (config.global) {
      const scaled = mul(queries.global, 1 / (config.group ?? 1));
      if (!input.withinFolds) {
        const weights = blockKeys.map(({ global }, i) =>
          mul(matmul(scaled, global, { transposeB: true }), heads.tile(blocks[i].masks.earlier)),
        );
        branches.push(weightedValues(blocks, weights));
      }
      if (sums !== undefined) branches.push(matmul(scaled, sums));
    }
    let mixed = branches.length === 0 ? undefined : addAll(branches);
    if (config.castling) mixed = castle(mixed, heads.repeat(values));
    return { mixed: addStepConvolution(mixed, input, blocks), keys, values };
  },
  /** S ← S + Σ kᵀv over rows of closed groups; queries are divided by G when they read it. */
  fold: {
    shareAs: ({ local }) => `gau rows${local === null ? '' : ' of two branches'}`,
    fold(config, { keys, values, sums }) {
      return add(sums, matmul(branchRows(config, keys).global, values, { transposeA: true }));
    },
  },
  sameBits: () => 'open rows',
};

/** q·k/divisor + bias/biasDivisor: [B,M,R·T,rows]. */
function biasedScores(
  config: GauMixer,
  products: Value,
  { masks }: StepBlock,
  { heads, parameters, horizon }: StepInput,
): Value {
  const { product, bias: biasDivisor } = scoreDivisors(config);
  const scores = mul(products, 1 / product);
  const width = Number(heads.queries.shape[4]) / (config.global ? 2 : 1);
  const bias = unitBias(parameters, width, biasDivisor, true);
  if (bias === undefined) return scores;
  const [B, T, rows] = masks.offsets.shape;
  const ofRows = reshape(gather(biasByOffset(bias, horizon.reach), masks.offsets), [B, 1, T, rows]); // one for all heads
  return add(scores, heads.tile(ofRows));
}

/** Weights of keys in the current group. */
function localWeights(
  { local }: GauMixer,
  scores: readonly Value[],
  blocks: readonly StepBlock[],
  input: StepInput,
): readonly Value[] {
  const { heads } = input;
  const kernel = local?.kernel ?? 'laplace';
  if (kernel === 'softmax') {
    const masked = scores.map((score, i) => maskScores(score, blocks[i].masks, heads));
    return softmaxOverRows(input, blocks, masked);
  }
  return scores.map((score, i) => mul(unitWeights(kernel, score), heads.tile(blocks[i].masks.same)));
}
