/** The probability that hashes of random hyperplanes collide, the kernel of YOSO. */
import { defineOp, only, type Value } from '../graph.ts';
import { tensor } from '../tensor.ts';
import { mul } from './elementwise.ts';
import { stopGradient, surrogateGradient } from './surrogate-gradient.ts';

export const collisionOp = defineOp<{ readonly bits: number }>({
  name: 'collision',
  infer: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  lower(emitter, node, { bits }) {
    const scalar = (value: number): string => emitter.constant(tensor('float32', [], Float32Array.of(value)));
    const step = (op: string, ...inputs: string[]): string => {
      const output = emitter.temporary();
      emitter.emit(op, inputs, [output]);
      return output;
    };
    const cosine = step('Clip', emitter.name(node.inputs[0]), scalar(-1), scalar(1));
    const share = step('Mul', step('Acos', cosine), scalar(1 / Math.PI));
    const agreement = step('Sub', scalar(1), share);
    emitter.emit('Pow', [agreement, scalar(bits)], [emitter.name(node.outputs[0])]);
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
  const y = stopGradient(only(collisionOp.apply([x], { bits })));
  return surrogateGradient(y, mul(mul(y, bits / 2), x));
}
