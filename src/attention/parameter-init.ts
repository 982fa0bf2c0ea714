/** Initial values of a mixer's parameters, by name, for a model that is linearized. */
import { elementCount } from '../graph/tensor.ts';

/** By a parameter's shape: the number at each index, in row-major order. */
const inits = {
  zeros: () => () => 0,
  ones: () => () => 1,
  /** ln 0.05, for factors learned as logarithms. */
  faint: () => () => Math.log(0.05),
  /** −20, for logits in a softmax denominator: e^−20 is below float32's last digit next to scores of −3 and more. */
  inaudible: () => () => -20,
  /** ln 2^(−8(m+1)/M) for head m of M: slopes from ½ down to 1/256, for decays learned as logarithms. */
  slopes: (shape) => (head) => -8 * Math.LN2 * ((head + 1) / elementCount(shape)),
  /** Every row of the last axis averages. */
  means: (shape) => () => 1 / shape[shape.length - 1],
  /** Every matrix of the last two axes is the identity. */
  identity: (shape) => {
    const [rows, columns] = shape.slice(-2);
    return (index) => (Math.floor(index / columns) % rows === index % columns ? 1 : 0);
  },
  /** Each of r rows averages every r-th column. */
  averages:
    ([rows, columns]) =>
    (index) =>
      (index % columns) % rows === Math.floor(index / columns) ? rows / columns : 0,
} as const satisfies Readonly<Record<string, (shape: readonly number[]) => (index: number) => number>>;

/** An initialization's name. */
export type ParameterInit = keyof typeof inits;

/** The initial values of a parameter of the given shape. */
export function initialParameter(init: ParameterInit, shape: readonly number[]): Float32Array {
  const numberAt = inits[init](shape);
  return Float32Array.from({ length: elementCount(shape) }, (_, index) => numberAt(index));
}
