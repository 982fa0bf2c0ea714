/** The formula of `parallel.ts` over token trees, on top of a state. Rows are stored as projected. */
import type { Value } from '../../../graph/graph.ts';
import { collision } from '../../../graph/ops/surrogate-gradient.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, mul, relu } from '../../../graph/ops/elementwise.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { maskedReluSquared } from '../../../graph/ops/activations.ts';
import type { AttentionDims, Fold, StateShape, StepBlock, StepInput, MixerStepOutput } from '../../mixer.ts';
import { scaled } from '../../normalization.ts';
import { biasOfRows, scoresOfRows } from '../../scoring.ts';
import { softmaxOfRows } from '../../softmax.ts';
import { ringState } from '../../state.ts';
import { addStepConvolution, blocksOf, nodeRows, weightedValues } from '../../step-blocks.ts';
import { collisionBits, type LocalBranch, type LocalKernel } from '../linear/config.ts';
import { postNorm, type T5LinearMixer } from './parallel.ts';

/** The ring, and S = Σ k̂ᵀv̂ with a global branch. */
export function t5LinearState({ group, convolution, global }: T5LinearMixer, dims: AttentionDims): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  const sums = { kind: 'sums', rows: headWidth, columns: valueWidth } as const;
  return ringState(dims, { group, convolution, folded: global === null ? null : sums });
}

export function t5LinearStep(config: T5LinearMixer, input: StepInput): MixerStepOutput {
  const { heads, sums, parameters } = input;
  const [keys, values] = [nodeRows(input.k), nodeRows(input.v)];
  const { all: blocks } = blocksOf(input, keys, values);
  const unitBlocks = blocks.map((block) => ({ ...block, values: unitLength(block.values) }));
  const unitQueries = heads.join(unitLength(heads.queries));
  const cosines = blocks.map((block) => matmul(unitQueries, unitLength(block.keys), { transposeB: true }));
  const branches: Value[] = [];
  if (config.local !== null) {
    const weights = localWeights(config.local, input, blocks, cosines);
    branches.push(scaled(weightedValues(unitBlocks, weights), parameters.local_factor));
  }
  if (config.global !== null && sums !== undefined) {
    const open = blocks.map(({ masks }, i) => mul(cosines[i], heads.tile(masks.earlier)));
    const read = add(weightedValues(unitBlocks, open), matmul(unitQueries, sums));
    branches.push(scaled(read, parameters.global_factor));
  }
  const normed = heads.of(postNorm(heads.split(addAll(branches))));
  return { mixed: addStepConvolution(normed.join(normed.queries), input, blocks), keys, values };
}

function localWeights(
  { kernel, bits }: LocalBranch,
  input: StepInput,
  blocks: readonly StepBlock[],
  cosines: readonly Value[],
): Value[] {
  const { heads, scoring, horizon } = input;
  const biased = (weights: (cosine: Value) => Value): Value[] =>
    blocks.map(({ masks }, i) => {
      const own = weights(cosines[i]);
      const { bias } = scoring;
      const sum = bias === undefined ? own : add(own, biasOfRows(bias, masks.offsets, horizon.reach, heads));
      return mul(sum, heads.tile(masks.same));
    });
  const kernels: Readonly<Record<LocalKernel, () => Value[]>> = {
    softmax: () => softmaxOfRows(input, blocks),
    'relu2-raw': () =>
      scoresOfRows(input, blocks).map((score, i) => maskedReluSquared(score, heads.tile(blocks[i].masks.same))),
    relu2: () =>
      biased((cosine) => {
        const positive = relu(cosine);
        return mul(positive, positive);
      }),
    yoso: () => biased((cosine) => collision(cosine, collisionBits({ bits }))),
  };
  return kernels[kernel]();
}

/** S ← S + Σ k̂ᵀv̂ over rows of groups that have closed. */
export const t5LinearFold: Fold<T5LinearMixer> = {
  shareAs: () => 't5 linear',
  fold(_, { keys, values, sums }) {
    return add(sums, matmul(unitLength(keys), unitLength(values), { transposeA: true }));
  },
};
