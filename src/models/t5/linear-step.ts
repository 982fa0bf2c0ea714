/** The attentions of T5's decoder that have a relative bias, one token at a time: softmax and the grouped linear form. */
import { collisionBits, type LinearMixer, type LocalKernel } from '../../attention/mixer.ts';
import type { MixerParameterValues } from '../../attention/mixer-values.ts';
import { tapsByLag } from '../../attention/convolution.ts';
import { hiddenScore } from '../../attention/parallel.ts';
import type { StepMasks } from '../../attention/step.ts';
import type { Value } from '../../graph/graph.ts';
import { collision } from '../../graph/ops/collision.ts';
import { add, addAll, div, maximum, mul, sub } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { unitLength } from '../../graph/ops/normalization.ts';
import { max, sum } from '../../graph/ops/reduce.ts';
import { exp, relu } from '../../graph/ops/unary.ts';
import { postNorm } from './linear-attention.ts';

/** Rows that a token sees: those of the state, or itself. */
export interface BiasedBlock {
  /** [B,H,rows,D] as projected. */
  readonly keys: Value;
  readonly values: Value;
  /** Of one sequence: all are at the same position. */
  readonly masks: StepMasks;
  /** [1,H,1,rows] */
  readonly bias: Value;
}

/** Softmax of q·k + bias over the rows of all blocks: q [B,H,1,D] → [B,H,1,D]. */
export function softmaxStep(q: Value, blocks: readonly BiasedBlock[]): Value {
  const weights = softmaxWeights(q, blocks);
  return addAll(blocks.map(({ values }, i) => matmul(weights[i], values)));
}

function softmaxWeights(q: Value, blocks: readonly BiasedBlock[]): Value[] {
  const scores = blocks.map(({ keys, masks, bias }) =>
    add(matmul(q, keys, { transposeB: true }), add(bias, mul(sub(masks.same, 1), -hiddenScore))),
  );
  const largest = scores.map((score) => max(score, [-1], true)).reduce((a, b) => maximum(a, b));
  const exponentials = scores.map((score) => exp(sub(score, largest)));
  const total = addAll(exponentials.map((exponential) => sum(exponential, [-1], true)));
  return exponentials.map((exponential) => div(exponential, total));
}

/**
 * The formula of `linear-attention.ts` for one position.
 * @param q [B,H,1,D]
 * @param sums S [B,H,D,D] of closed groups, with a global branch
 * @returns [B,1,H,D]
 */
export function linearStep(
  config: LinearMixer,
  q: Value,
  blocks: readonly BiasedBlock[],
  sums: Value | undefined,
  parameters: MixerParameterValues,
): Value {
  const headsFirst = [0, 2, 1, 3]; // its own inverse
  const unitQueries = unitLength(q);
  const cosines = blocks.map(({ keys }) => matmul(unitQueries, unitLength(keys), { transposeB: true })); // [B,H,1,rows]
  const unitValues = blocks.map(({ values }) => unitLength(values));
  const branches: Value[] = [];
  const weighted = (weights: readonly Value[]): Value =>
    addAll(weights.map((weight, i) => matmul(weight, unitValues[i])));
  if (config.local !== null) {
    branches.push(scaled(weighted(localWeights(config.local, q, blocks, cosines)), parameters.local_factor));
  }
  if (config.global !== null && sums !== undefined) {
    const open = weighted(blocks.map(({ masks }, i) => mul(cosines[i], masks.earlier)));
    branches.push(scaled(add(open, matmul(unitQueries, sums)), parameters.global_factor));
  }
  const mixed = postNorm(transpose(addAll(branches), headsFirst)); // [B,1,H,D]
  const taps = parameters['dwconv.weight'];
  if (taps === undefined) return mixed;
  const byLag = tapsByLag(taps); // [H,P+2]
  const filtered = blocks.map(({ values, masks }) => {
    const weights = transpose(gather(byLag, masks.lags, 1), [1, 0, 2, 3]); // [H,1,1,rows] to [1,H,1,rows]
    return matmul(weights, values);
  });
  return add(mixed, transpose(addAll(filtered), headsFirst));
}

function localWeights(
  { kernel, bits }: NonNullable<LinearMixer['local']>,
  q: Value,
  blocks: readonly BiasedBlock[],
  cosines: readonly Value[],
): Value[] {
  const biased = (weights: (cosine: Value) => Value): Value[] =>
    blocks.map(({ masks, bias }, i) => mul(add(weights(cosines[i]), bias), masks.same));
  const kernels: Readonly<Record<LocalKernel, () => Value[]>> = {
    softmax: () => softmaxWeights(q, blocks),
    relu2: () =>
      biased((cosine) => {
        const positive = relu(cosine);
        return mul(positive, positive);
      }),
    yoso: () => biased((cosine) => collision(cosine, collisionBits({ bits }))),
  };
  return kernels[kernel]();
}

function scaled(branch: Value, factor: Value | undefined): Value {
  return factor === undefined ? branch : mul(branch, factor);
}
