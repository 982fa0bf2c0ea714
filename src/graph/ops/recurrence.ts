/**
 * The runtime's operator for linear recurrences. It reads position by position: a row has the same bits whatever rows and
 * texts stand beside it, and whether its text is read in parts or at once.
 */
import { type Value, defineOp, sameType } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { int64, normalizeAxis, sameShape, shapeError } from '../tensor.ts';

type RecurrenceAttributes = { readonly heads: number; readonly keyValueHeads: number; readonly scale: number };

export const deltaRecurrenceOp = defineOp<RecurrenceAttributes>({
  name: 'deltaRecurrence',
  // `deltaRecurrence` has checked the shapes.
  infer([q, , v, state], { heads, keyValueHeads }) {
    const [B, n] = q.shape;
    const width = (Number(v.shape[2]) / keyValueHeads) * heads;
    return [
      { dtype: 'float32', shape: [B, n, width] },
      { dtype: 'float32', shape: state.shape },
    ];
  },
  lower: directly(
    'LinearAttention',
    ({ heads, keyValueHeads, scale }) => ({
      q_num_heads: { int: heads },
      kv_num_heads: { int: keyValueHeads },
      update_rule: { string: 'gated_delta' },
      scale: { float: scale },
    }),
    'com.microsoft',
  ),
  gradient: { notDifferentiable: 'it reads position by position, which no training graph does' },
});

export const deltaGatesOp = defineOp<Record<string, never>>({
  name: 'deltaGates',
  // `deltaGates` has checked the shapes.
  infer: ([a]) => [a, a],
  lower: directly('LinearAttentionGate', undefined, 'com.microsoft'),
  gradient: { notDifferentiable: 'the ops that it stands for have one' },
});

/**
 * g = rate·softplus(a + bias) and β = σ(b), in one op.
 * @param a [B,n,M]
 * @param bias [M]
 * @param rates [M], negative
 * @param b [B,n,M]
 * @returns g and β [B,n,M]
 */
export function deltaGates(a: Value, bias: Value, rates: Value, b: Value): readonly Value[] {
  const M = a.shape[2];
  if (a.rank !== 3 || !sameShape(a.shape, b.shape) || ![bias, rates].every(({ shape }) => sameShape(shape, [M]))) {
    throw shapeError('deltaGates', `${a} and ${b} do not fit ${bias} and ${rates}`);
  }
  return deltaGatesOp.apply([a, bias, rates, b], {});
}

/** Rows of the gated delta rule, heads side by side: see `deltaRecurrence`. */
export interface RecurrenceRows {
  /** [B,n,H·D] */
  readonly queries: Value;
  /** [B,n,M·D], unit length or zeros */
  readonly keys: Value;
  /** [B,n,M·E] */
  readonly values: Value;
  /** g ≤ 0 [B,n,M] */
  readonly logs: Value;
  /** β [B,n,M] */
  readonly gates: Value;
}

/**
 * The gated delta rule, S ← e^g·S + β·k(v − e^g·Sᵀk)ᵀ, o = scale·Sᵀq, from a state S [B,M,D,E]. A row with g = 0 and β = 0
 * changes no bit of S.
 * @param scale default 1
 * @returns o [B,n,H·E], and S after the last row
 */
export function deltaRecurrence(
  { queries, keys, values, logs, gates }: RecurrenceRows,
  state: Value,
  scale = 1,
): { readonly mixed: Value; readonly state: Value } {
  const [, M, D, E] = state.shape.map(Number);
  const [B, n, width] = queries.shape;
  const rows = [keys, values, logs, gates];
  const widths = [M * D, M * E, M, M];
  const fits =
    state.shape[0] === B &&
    Number(width) % (M * D) === 0 &&
    rows.every(({ shape }, i) => sameShape(shape, [B, n, widths[i]]));
  if (!fits) throw shapeError('deltaRecurrence', `${keys}, ${values}, ${logs}, ${gates} do not fit ${state}`);
  const attributes = { heads: Number(width) / D, keyValueHeads: M, scale };
  const [mixed, after] = deltaRecurrenceOp.apply([queries, keys, values, state, logs, gates], attributes);
  return { mixed, state: after };
}

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
 * Cumulative sum of the elements along an axis; `exclusive` leaves out the element itself, `reverse` sums from the end. The
 * exclusive sum is a true prefix sum, not "inclusive minus own", which would lose digits.
 */
export function cumulativeSum(x: Value, axis: number, options: { exclusive?: boolean; reverse?: boolean } = {}): Value {
  const { exclusive = false, reverse = false } = options;
  return cumulativeSumOp.first([x], { axis: normalizeAxis('cumulativeSum', axis, x.rank), exclusive, reverse });
}
