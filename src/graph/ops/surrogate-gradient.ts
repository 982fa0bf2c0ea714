/** Gradients that differ from the function's: none, estimates, and delayed ones. */
import { type OpFunction, type Value, defineFunction, defineOp, sameType } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { sameShape, shapeError } from '../tensor.ts';
import { add, mul } from './elementwise.ts';

/** x, through which no gradient flows. */
export const stopGradient: OpFunction<[x: Value]> = defineFunction({
  name: 'stopGradient',
  infer: sameType,
  lower: directly('Identity'),
  gradient: () => [],
});

/** `value`, with the gradient of `value + surrogate`. */
export const surrogateGradient: OpFunction<[value: Value, surrogate: Value]> = defineFunction({
  name: 'surrogateGradient',
  infer([value, surrogate]) {
    if (!sameShape(value.shape, surrogate.shape)) {
      throw shapeError('surrogateGradient', `${value} and its surrogate ${surrogate} differ in shape`);
    }
    return sameType([value]);
  },
  // Reads only the value, so that the runtime drops the surrogate's nodes unless its gradient is wanted.
  lower(emitter, { inputs: [value], outputs }) {
    emitter.emit('Identity', [value], outputs);
  },
  gradient: (_node, dy) => [dy, dy],
});

/**
 * x, whose gradient is computed after x itself. If a loss sums parts, each part's tensors are then freed before the next
 * part's are made, in whatever order the runtime takes them.
 */
export const gradientAfter: OpFunction<[x: Value]> = defineFunction({
  name: 'gradientAfter',
  infer: sameType,
  lower: directly('Identity'),
  gradient: (node, dy) => [add(dy, mul(node.outputs[0], 0))],
});

/** YOSO's kernel: the probability that hashes of random hyperplanes collide. */
export const collisionOp = defineOp<{ readonly bits: number }>({
  name: 'collision',
  infer: sameType,
  lower(emitter, { inputs: [x], outputs }, { bits }) {
    const cosine = emitter.step('Clip', [x, -1, 1]);
    const share = emitter.step('Mul', [emitter.step('Acos', [cosine]), 1 / Math.PI]);
    emitter.emit('Pow', [emitter.step('Sub', [1, share]), bits], outputs);
  },
  gradient: { notDifferentiable: 'its derivative is infinite at cosine 1; `collision` has a surrogate gradient' },
});

/**
 * (1 − arccos(x)/π)^bits for cosines x, clipped to [−1, 1]: the probability that `bits` random hyperplanes all leave two
 * vectors at that angle on the same side.
 *
 * The gradient is bits/2 · y instead of the true bits·(1 − arccos(x)/π)^(bits−1) / (π·√(1 − x²)), which it bounds from
 * below and which is infinite at x = 1 (Zeng et al., "You Only Sample (Almost) Once", section 3.2).
 */
export function collision(x: Value, bits: number): Value {
  const y = stopGradient(collisionOp.first([x], { bits }));
  return surrogateGradient(y, mul(mul(y, bits / 2), x));
}
