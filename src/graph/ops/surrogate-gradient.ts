/** Gradients that differ from the function's: constants to differentiation, estimates, and gradients that wait. */
import { defineFunction, sameType, type OpFunction, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { sameShape, shapeError } from '../shape.ts';
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
  // Only the value is read, so that the runtime drops the surrogate's nodes unless its gradient is wanted.
  lower(emitter, { inputs: [value], outputs }) {
    emitter.emit('Identity', [value], outputs);
  },
  gradient: (_node, dy) => [dy, dy],
});

/**
 * x, whose gradient is computed after x itself. Of a loss that is summed from parts, each part's tensors are then free before
 * the next part's are made, in whichever order the runtime takes the parts.
 */
export const gradientAfter: OpFunction<[x: Value]> = defineFunction({
  name: 'gradientAfter',
  infer: sameType,
  lower: directly('Identity'),
  gradient: (node, dy) => [add(dy, mul(node.outputs[0], 0))],
});
