/** max(x, 0)², the local attention kernel of the paper. */
import { defineOp, type Value } from '../graph.ts';
import { mul } from './elementwise.ts';

export const reluSquaredOp = defineOp<Readonly<Record<string, never>>>({
  name: 'reluSquared',
  // The second output is relu(x): the gradient 2·relu(x)·dy then needs neither a mask nor x.
  infer: ([x]) => [
    { dtype: x.dtype, shape: x.shape },
    { dtype: x.dtype, shape: x.shape },
  ],
  lower(emitter, node) {
    const [squared, positive] = node.outputs.map((output) => emitter.name(output));
    emitter.emit('Relu', [emitter.name(node.inputs[0])], [positive]);
    emitter.emit('Mul', [positive, positive], [squared]);
  },
  gradient: (node, [dy]) => (dy === undefined ? [] : [mul(mul(node.outputs[1], 2), dy)]),
});

/** max(x, 0)², element by element. Its derivative is 2·max(x, 0). */
export function reluSquared(x: Value): Value {
  return reluSquaredOp.apply([x], {})[0];
}
