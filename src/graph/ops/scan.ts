/** Running sums. */
import { defineOp, sameType, type Value } from '../graph.ts';
import { normalizeAxis } from '../shape.ts';
import { int64 } from '../tensor.ts';

type CumulativeAttributes = { readonly axis: number; readonly exclusive: boolean; readonly reverse: boolean };

export const cumulativeSumOp = defineOp<CumulativeAttributes>({
  name: 'cumulativeSum',
  infer: sameType,
  lower(emitter, { inputs: [x], outputs }, { axis, exclusive, reverse }) {
    emitter.emit('CumSum', [x, int64([], [axis])], outputs, {
      exclusive: { int: Number(exclusive) },
      reverse: { int: Number(reverse) },
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
  return cumulativeSumOp.first([x], { axis: normalizeAxis('cumulativeSum', axis, x.rank), exclusive, reverse });
}
