/** From scores to weights in a gated attention unit. */
import type { Value } from '../../../graph/graph.ts';
import { add, erf, mul, relu } from '../../../graph/ops/elementwise.ts';
import type { UnitKernel } from './config.ts';

/** Kernels that weigh every key for itself; softmax weighs all keys of a query together. */
export type PointwiseKernel = Exclude<UnitKernel, 'softmax'>;

const kernels: Readonly<Record<PointwiseKernel, (scores: Value) => Value>> = {
  /** ½(1 + erf((s − √½)·√(2π))), a smooth stand-in for relu² (Ma et al., arXiv 2209.10655). */
  laplace(scores) {
    const slope = Math.sqrt(2 * Math.PI);
    return add(mul(erf(add(mul(scores, slope), -Math.SQRT1_2 * slope)), 0.5), 0.5);
  },
  relu2(scores) {
    const positive = relu(scores);
    return mul(positive, positive);
  },
};

/** φ of scores. Keys that are not seen must be masked after it: Laplace of 0 is not 0. */
export function unitWeights(kernel: PointwiseKernel, scores: Value): Value {
  return kernels[kernel](scores);
}
