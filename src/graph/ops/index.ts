/** The ops for user-built graphs. Definitions and rules stay in their families' files. */
export { broadcastTo, matmul, sum, sumTo } from './contraction.ts';
export {
  abs,
  acos,
  add,
  addAll,
  cast,
  cos,
  div,
  elu,
  equal,
  erf,
  exp,
  greater,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  reciprocal,
  relu,
  sigmoid,
  silu,
  sin,
  sqrt,
  sub,
  tanh,
  where,
} from './elementwise.ts';
export { max, mean, sumSquare } from './reduce.ts';
export { gather, gatherElements, scatterAdd } from './indexing.ts';
export { concat, pad, reshape, slice, split, transpose } from './layout.ts';
export { layerNorm, rmsNorm, unitLength } from './normalization.ts';
export { maskedReluSquared } from './activations.ts';
export { rotary } from './rotary.ts';
export { cumulativeSum } from './recurrence.ts';
export { crossEntropy, softmax } from './normalization.ts';
