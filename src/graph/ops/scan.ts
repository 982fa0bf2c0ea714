/** Running sums. */
import { defineOp, only, type Value } from '../graph.ts';
import { normalizeAxis } from '../shape.ts';
import { tensor } from '../tensor.ts';

type CumulativeAttributes = { readonly axis: number; readonly exclusive: boolean; readonly reverse: boolean };

export const cumulativeSumOp = defineOp<CumulativeAttributes>({
  name: 'cumulativeSum',
  infer: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  lower(emitter, node, { axis, exclusive, reverse }) {
    const along = emitter.constant(tensor('int64', [], BigInt64Array.of(BigInt(axis))));
    emitter.emit('CumSum', [emitter.name(node.inputs[0]), along], [emitter.name(node.outputs[0])], {
      exclusive: { int: exclusive ? 1 : 0 },
      reverse: { int: reverse ? 1 : 0 },
    });
  },
  gradient: (_node, dy, { axis, exclusive, reverse }) => [cumulativeSum(dy, axis, { exclusive, reverse: !reverse })],
});

/**
 * The sum of all elements up to each one along an axis; `exclusive` leaves the element itself out, `reverse` sums from
 * the end. The exclusive sum is a true prefix sum, not "inclusive minus own", which would lose digits.
 */
export function cumulativeSum(x: Value, axis: number, options: { exclusive?: boolean; reverse?: boolean } = {}): Value {
  const { exclusive = false, reverse = false } = options;
  return only(cumulativeSumOp.apply([x], { axis: normalizeAxis('cumulativeSum', axis, x.rank), exclusive, reverse }));
}
