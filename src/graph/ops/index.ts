/** The ops for user-built graphs. Definitions and rules stay in their families' files. */
export { cast, equal, greater, less, where } from './compare.ts';
export { add, addAll, div, maximum, minimum, mul, type Operand, sub } from './elementwise.ts';
export { gather, gatherElements, scatterAdd } from './indexing.ts';
export { concat, pad, reshape, slice, split, transpose } from './layout.ts';
export { matmul } from './matmul.ts';
export { layerNorm, rmsNorm, unitLength } from './normalization.ts';
export { broadcastTo, max, mean, sum, sumSquare, sumTo } from './reduce.ts';
export { maskedReluSquared } from './relu-squared.ts';
export { rotary } from './rotary.ts';
export { cumulativeSum } from './scan.ts';
export { crossEntropy, softmax } from './softmax.ts';
export {
  abs,
  acos,
  cos,
  elu,
  erf,
  exp,
  log,
  neg,
  reciprocal,
  relu,
  sigmoid,
  silu,
  sin,
  sqrt,
  tanh,
} from './unary.ts';
