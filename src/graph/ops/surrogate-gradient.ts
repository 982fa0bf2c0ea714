/** Gradients that differ from the function's: constants to differentiation, and estimates. */
import { defineOp, only, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { sameShape, shapeError } from '../shape.ts';

type NoAttributes = Readonly<Record<string, never>>;

export const stopGradientOp = defineOp<NoAttributes>({
  name: 'stopGradient',
  infer: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  lower: directly('Identity'),
  gradient: () => [],
});

/** x, through which no gradient flows. */
export function stopGradient(x: Value): Value {
  return only(stopGradientOp.apply([x], {}));
}

export const surrogateGradientOp = defineOp<NoAttributes>({
  name: 'surrogateGradient',
  infer([value, surrogate]) {
    if (!sameShape(value.shape, surrogate.shape)) {
      throw shapeError('surrogateGradient', `${value} and its surrogate ${surrogate} differ in shape`);
    }
    return [{ dtype: value.dtype, shape: value.shape }];
  },
  // Only the value is read, so that the runtime drops the surrogate's nodes unless its gradient is wanted.
  lower(emitter, node) {
    emitter.emit('Identity', [emitter.name(node.inputs[0])], [emitter.name(node.outputs[0])]);
  },
  gradient: (_node, dy) => [dy, dy],
});

/** `value`, with the gradient of `value + surrogate`. */
export function surrogateGradient(value: Value, surrogate: Value): Value {
  return only(surrogateGradientOp.apply([value, surrogate], {}));
}
