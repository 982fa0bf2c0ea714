/** Values computed again for their gradient (Chen et al., arXiv 1604.06174), so that intermediate results need not be kept. */
import { vectorJacobian } from './gradients.ts';
import { defineFunction, sameType, type Value } from './graph.ts';
import { add, mul } from './ops/elementwise.ts';
import { stopGradient } from './ops/surrogate-gradient.ts';

/** `make(x)`; its gradient makes it again, from x and the result's gradient. */
export function recomputed(make: (x: Value) => Value, x: Value): Value {
  const y = make(x);
  const others = sourcesBeside(x, y);
  const op = defineFunction({
    name: 'recomputed',
    infer: sameType,
    lower(emitter, { inputs: [first], outputs }) {
      emitter.emit('Identity', [first], outputs);
    },
    gradient(_node, dy) {
      // Reads dy, so that the runtime neither computes it early nor merges it with the first.
      const again = stopGradient(add(x, mul(dy, 0)));
      return [undefined, ...vectorJacobian([make(again)], [dy], [again, ...others])];
    },
  });
  return op(y, x, ...others);
}

/** Inputs and weights that y depends on other than through x. */
function sourcesBeside(x: Value, y: Value): Value[] {
  const seen = new Set([x, y]);
  for (const { origin } of seen) {
    if (origin.kind === 'result' && origin !== x.origin) for (const input of origin.node.inputs) seen.add(input);
  }
  return [...seen].filter(
    ({ dtype, origin: { kind } }) => dtype === 'float32' && (kind === 'input' || kind === 'weight'),
  );
}
