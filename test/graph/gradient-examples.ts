/**
 * One or more applications of every op, for the test that compares gradients with finite differences. An op without an
 * entry here fails that test.
 */
import type { Random } from '../../src/random.ts';
import type { Graph, Value } from '../../src/graph/graph.ts';
import { broadcastTo, matmul, sum, sumTo } from '../../src/graph/ops/contraction.ts';
import {
  abs,
  acos,
  add,
  cast,
  cos,
  div,
  elu,
  erf,
  exp,
  greater,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  sigmoid,
  sin,
  sqrt,
  sub,
  tanh,
  where,
} from '../../src/graph/ops/elementwise.ts';
import { crossEntropy, layerNorm, rmsNorm, softmax, unitLength } from '../../src/graph/ops/normalization.ts';
import { logSum, max, sumSquare } from '../../src/graph/ops/reduce.ts';
import { float32, int32 } from '../../src/graph/tensor.ts';
import { gelu, geluTanh, maskedReluSquared } from '../../src/graph/ops/activations.ts';
import { gather, gatherElements, scatterAdd } from '../../src/graph/ops/indexing.ts';
import { concat, pad, reshape, slice, split, transpose } from '../../src/graph/ops/layout.ts';
import { inverse } from '../../src/graph/ops/inverse.ts';
import { rotary } from '../../src/graph/ops/rotary.ts';
import { cumulativeSum } from '../../src/graph/ops/recurrence.ts';
import { gradientAfter, stopGradient, surrogateGradient } from '../../src/graph/ops/surrogate-gradient.ts';

/** How the numbers of an input are drawn. */
export type Draw = (random: Random) => number;

/** A use of an op on float32 inputs. */
export interface GradientExample {
  readonly shapes: readonly (readonly number[])[];
  /** Default: standard normal. */
  readonly draw?: Draw;
  build(inputs: Value[], graph: Graph): Value;
}

const positive: Draw = (random) => 0.5 + random.uniform();
const inside: Draw = (random) => 1.6 * random.uniform() - 0.8;
/** Away from 0, where a function has a kink. */
const awayFromZero: Draw = (random) => (random.uniform() < 0.5 ? -1 : 1) * (0.3 + random.uniform());
/** Far apart as a rule, so that which one is the largest does not change within a step of the test. */
const spread: Draw = (random) => 0.1 * random.integer(997);

function unary(build: (x: Value) => Value, draw?: Draw): GradientExample[] {
  return [{ shapes: [[3, 5]], draw, build: ([x]) => build(x) }];
}

function binary(build: (a: Value, b: Value) => Value, draw?: Draw): GradientExample[] {
  const cases = [
    [
      [3, 4],
      [3, 4],
    ],
    [[2, 3, 4], [4]],
    [
      [3, 1],
      [2, 1, 4],
    ],
    [[2, 2], []],
  ];
  return cases.map((shapes) => ({ shapes, draw, build: ([a, b]) => build(a, b) }));
}

/** Indices that repeat: their gradients must add up. */
function repeatedIndices(graph: Graph): Value {
  return graph.constant(int32([2, 3], [4, 0, 4, 4, 1, 0]));
}

/** Examples by op name. */
export const gradientExamples: Readonly<Record<string, readonly GradientExample[]>> = {
  add: binary(add),
  sub: binary(sub),
  mul: binary(mul),
  div: binary(div, positive),
  minimum: binary(minimum, spread),
  maximum: binary(maximum, spread),
  neg: unary(neg),
  abs: unary(abs, awayFromZero),
  sign: unary((x) => mul(abs(x), x), awayFromZero),
  exp: unary(exp),
  log: unary(log, positive),
  sqrt: unary(sqrt, positive),
  reciprocal: unary(reciprocal, positive),
  sin: unary(sin),
  cos: unary(cos),
  acos: unary(acos, inside),
  tanh: unary(tanh),
  erf: unary(erf),
  sigmoid: unary(sigmoid),
  relu: unary(relu, awayFromZero),
  elu: unary(elu, awayFromZero),
  gelu: unary(gelu),
  geluTanh: unary(geluTanh),
  maskedReluSquared: [
    {
      shapes: [[3, 4]],
      build: ([x], graph) => maskedReluSquared(x, graph.constant(float32([4], [1, 0, 1, 1]))),
    },
  ],
  cast: [{ shapes: [[3, 4]], build: ([x]) => mul(cast(greater(x, 0), 'float32'), x), draw: awayFromZero }],
  where: [
    {
      shapes: [[3, 4], [4]],
      draw: awayFromZero,
      build: ([a, b]) => where(greater(a, 0), a, mul(b, b)),
    },
  ],
  sum: [
    { shapes: [[2, 3, 4]], build: ([x]) => sum(x, [0, 2]) },
    { shapes: [[2, 3]], build: ([x]) => mul(x, sum(x, [-1], true)) },
    { shapes: [[2, 3, 4]], build: ([x]) => sumTo(x, [3, 1]) },
  ],
  max: [{ shapes: [[3, 5]], draw: spread, build: ([x]) => max(x, [-1]) }],
  sumSquare: [{ shapes: [[3, 5]], build: ([x]) => sumSquare(x, [1]) }],
  logSum: [{ shapes: [[3, 5]], draw: positive, build: ([x]) => logSum(x, [1]) }],
  broadcastTo: [{ shapes: [[3, 1]], build: ([x]) => broadcastTo(x, [2, 3, 4]) }],
  matmul: [false, true].flatMap((transposeA) =>
    [false, true].flatMap((transposeB): GradientExample[] => {
      const a = transposeA ? [4, 3] : [3, 4];
      const b = transposeB ? [5, 4] : [4, 5];
      const build = ([x, y]: Value[]): Value => matmul(x, y, { transposeA, transposeB });
      return [
        { shapes: [a, b], build },
        { shapes: [[2, ...a], b], build },
        {
          shapes: [
            [2, 1, ...a],
            [2, 3, ...b],
          ],
          build,
        },
        { shapes: [a, [2, ...b]], build },
      ];
    }),
  ),
  reshape: [{ shapes: [[2, 6]], build: ([x]) => mul(reshape(x, [3, 4]), reshape(x, [3, 4])) }],
  transpose: [{ shapes: [[2, 3, 4]], build: ([x]) => mul(transpose(x, [1, 2, 0]), transpose(x, [1, 2, 0])) }],
  concat: [
    {
      shapes: [
        [2, 3],
        [2, 1],
      ],
      build: ([a, b]) => concat([a, b, a], 1),
    },
  ],
  split: [
    {
      shapes: [[2, 5]],
      build: ([x]) => {
        const [a, , c] = split(x, 1, [2, 1, 2]); // the middle part is not used: its gradient is zero
        return mul(a, c);
      },
    },
  ],
  slice: [
    { shapes: [[2, 5]], build: ([x]) => slice(x, 1, 1, 4) },
    { shapes: [[2, 5]], build: ([x]) => slice(x, 1, 2) },
  ],
  pad: [{ shapes: [[2, 3]], build: ([x]) => pad(x, 1, 2, 1) }],
  gather: [{ shapes: [[5, 3]], build: ([x], graph) => gather(x, repeatedIndices(graph)) }],
  gatherElements: [{ shapes: [[2, 5]], build: ([x], graph) => gatherElements(x, repeatedIndices(graph), 1) }],
  scatterAdd: [
    {
      shapes: [
        [2, 5],
        [2, 3],
      ],
      build: ([x, updates], graph) => scatterAdd(x, repeatedIndices(graph), updates, 1),
    },
  ],
  cumulativeSum: [false, true].flatMap((exclusive) =>
    [false, true].map((reverse) => ({
      shapes: [[2, 4, 3]],
      build: ([x]: Value[]) => cumulativeSum(x, 1, { exclusive, reverse }),
    })),
  ),
  inverse: [
    {
      shapes: [[2, 3, 3]],
      build: ([x], graph) => inverse(add(x, graph.constant(float32([3, 3], [5, 0, 0, 0, 5, 0, 0, 0, 5])))),
    },
  ],
  softmax: [{ shapes: [[3, 5]], build: ([x]) => softmax(x) }],
  crossEntropy: [
    {
      shapes: [[2, 3, 6]],
      build: ([logits], graph) => crossEntropy(logits, graph.constant(int32([2, 3], [0, 5, 2, 2, 1, 5]))),
    },
  ],
  // Where the function and its gradient agree: a stopped zero, and a surrogate that does not move.
  gradientAfter: [{ shapes: [[2, 3]], build: ([x]) => mul(gradientAfter(mul(x, x)), x) }],
  stopGradient: [{ shapes: [[2, 3]], build: ([x]) => add(x, stopGradient(mul(x, 0))) }],
  surrogateGradient: [
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      build: ([x, y]) => surrogateGradient(mul(x, 2), mul(y, 0)),
    },
  ],
  rmsNorm: [{ shapes: [[2, 3, 8], [8]], build: ([x, gain]) => rmsNorm(x, gain, 1e-5) }],
  unitLength: [{ shapes: [[2, 3, 8]], build: ([x]) => unitLength(x) }],
  layerNorm: [{ shapes: [[2, 3, 8], [8], [8]], build: ([x, gain, bias]) => layerNorm(x, gain, bias, 1e-5) }],
  rotary: [false, true].map((interleaved) => ({
    shapes: [[2, 3, 2, 4]],
    build: ([x]: Value[], graph: Graph) => {
      const angles = Float32Array.from({ length: 12 }, (_, i) => 0.3 * i);
      const table = (f: (angle: number) => number): Value =>
        graph.constant({ dtype: 'float32', shape: [2, 3, 2], data: angles.map(f) });
      return rotary(x, table(Math.cos), table(Math.sin), { interleaved });
    },
  })),
};
