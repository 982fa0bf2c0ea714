/** max(mask·x, 0)², the local attention kernel of the paper under a causal mask. */
import { defineOp, type Value } from '../graph.ts';
import { broadcastShapes, sameShape, shapeError } from '../shape.ts';
import { mul } from './elementwise.ts';

export const maskedReluSquaredOp = defineOp<Readonly<Record<string, never>>>({
  name: 'maskedReluSquared',
  infer([x, mask]) {
    if (!sameShape(broadcastShapes('maskedReluSquared', x.shape, mask.shape), x.shape)) {
      throw shapeError('maskedReluSquared', `mask ${mask} does not broadcast to ${x}`);
    }
    return [
      { dtype: x.dtype, shape: x.shape },
      { dtype: x.dtype, shape: x.shape },
    ];
  },
  lower(emitter, node) {
    const [x, mask] = node.inputs.map((input) => emitter.name(input));
    const [squared, positive] = node.outputs.map((output) => emitter.name(output));
    const visible = emitter.temporary();
    emitter.emit('Mul', [x, mask], [visible]);
    emitter.emit('Relu', [visible], [positive]);
    emitter.emit('Mul', [positive, positive], [squared]);
  },
  // The second output, max(mask·x, 0), is zero wherever the mask is: 2·that·dy needs neither mask nor comparison.
  gradient: (node, dy) => [mul(mul(node.outputs[1], 2), dy)],
});

/** max(x, 0)² where the 0/1 mask, broadcast to x, is 1, else 0. The mask gets no gradient. */
export function maskedReluSquared(x: Value, mask: Value): Value {
  return maskedReluSquaredOp.apply([x, mask], {})[0];
}
