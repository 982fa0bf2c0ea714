/** Initial values of a mixer's parameters, by name, for a model that is linearized. */
import { elementCount } from '../graph/tensor.ts';

const inits = {
  zeros: (shape) => new Float32Array(elementCount(shape)),
  ones: (shape) => new Float32Array(elementCount(shape)).fill(1),
  /** ln 0.05, for factors learned as logarithms. */
  faint: (shape) => new Float32Array(elementCount(shape)).fill(Math.log(0.05)),
  /** −20, for logits in a softmax denominator: e^−20 is below float32's last digit next to scores of −3 and more. */
  inaudible: (shape) => new Float32Array(elementCount(shape)).fill(-20),
  /** ln 2^(−8(m+1)/M) for head m of M: slopes from ½ down to 1/256, for decays learned as logarithms. */
  slopes: (shape) =>
    Float32Array.from({ length: elementCount(shape) }, (_, head) => -8 * Math.LN2 * ((head + 1) / elementCount(shape))),
  /** Every row of the last axis averages. */
  means: (shape) => new Float32Array(elementCount(shape)).fill(1 / shape[shape.length - 1]),
  /** Every matrix of the last two axes is the identity. */
  identity: (shape) => {
    const [rows, columns] = shape.slice(-2);
    return Float32Array.from({ length: elementCount(shape) }, (_, i) =>
      Math.floor(i / columns) % rows === i % columns ? 1 : 0,
    );
  },
  /** Each of r rows averages every r-th column. */
  averages: (shape) => {
    const [rows, columns] = shape;
    return Float32Array.from({ length: elementCount(shape) }, (_, i) =>
      (i % columns) % rows === Math.floor(i / columns) ? rows / columns : 0,
    );
  },
} as const satisfies Readonly<Record<string, (shape: readonly number[]) => Float32Array>>;

/** An initialization's name. */
export type ParameterInit = keyof typeof inits;

/** The initial values of a parameter of the given shape. */
export function initialParameter(init: ParameterInit, shape: readonly number[]): Float32Array {
  return inits[init](shape);
}
