/** max(mask·x, 0)², the local attention kernel of the paper under a causal mask. */
import { defineFunction, sameType, type OpFunction, type Value } from '../graph.ts';
import { broadcastShapes, sameShape, shapeError } from '../shape.ts';
import { mul } from './elementwise.ts';

/** max(x, 0)² where the 0/1 mask, broadcast to x, is 1, else 0. The mask gets no gradient. */
export const maskedReluSquared: OpFunction<[x: Value, mask: Value]> = defineFunction({
  name: 'maskedReluSquared',
  infer([x, mask]) {
    if (!sameShape(broadcastShapes('maskedReluSquared', x.shape, mask.shape), x.shape)) {
      throw shapeError('maskedReluSquared', `mask ${mask} does not broadcast to ${x}`);
    }
    return [...sameType([x]), ...sameType([x])];
  },
  lower(emitter, { inputs, outputs: [squared, positive] }) {
    emitter.emit('Relu', [emitter.step('Mul', inputs)], [positive]);
    emitter.emit('Mul', [positive, positive], [squared]);
  },
  // The second output, max(mask·x, 0), is zero wherever the mask is: 2·that·dy needs neither mask nor comparison.
  gradient: (node, dy) => [mul(mul(node.outputs[1], 2), dy)],
});
