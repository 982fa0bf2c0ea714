/** The probability that hashes of random hyperplanes collide, the kernel of YOSO. */
import { defineOp, sameType, type Value } from '../graph.ts';
import { float32, type Tensor } from '../tensor.ts';
import { mul } from './elementwise.ts';
import { stopGradient, surrogateGradient } from './surrogate-gradient.ts';

export const collisionOp = defineOp<{ readonly bits: number }>({
  name: 'collision',
  infer: sameType,
  lower(emitter, { inputs: [x], outputs }, { bits }) {
    const scalar = (value: number): Tensor => float32([], [value]);
    const cosine = emitter.step('Clip', [x, scalar(-1), scalar(1)]);
    const share = emitter.step('Mul', [emitter.step('Acos', [cosine]), scalar(1 / Math.PI)]);
    const agreement = emitter.step('Sub', [scalar(1), share]);
    emitter.emit('Pow', [agreement, scalar(bits)], outputs);
  },
  gradient: { notDifferentiable: 'its derivative is infinite at cosine 1; `collision` puts a surrogate in its place' },
});

/**
 * (1 − arccos(x)/π)^bits for cosines x, clipped to [−1, 1]: the probability that `bits` random hyperplanes all leave
 * two vectors at that angle on the same side.
 *
 * The gradient is bits/2 · y instead of the true bits·(1 − arccos(x)/π)^(bits−1) / (π·√(1 − x²)), which it bounds from
 * below and which is infinite at 1 (Zeng et al., "You Only Sample (Almost) Once", section 3.2).
 */
export function collision(x: Value, bits: number): Value {
  const y = stopGradient(collisionOp.first([x], { bits }));
  return surrogateGradient(y, mul(mul(y, bits / 2), x));
}
