/**
 * Decay of the past by a position: its log decay g ≤ 0 per key-value head. The weight of position j for position t is
 * multiplied by e^(Σ g_i), i from j + 1 to t.
 *
 * - `none`: g = 0.
 * - `fixed`: −2^(−8(m+1)/M) for key-value head m of M, as in Lightning attention and RetNet: some heads forget in a few
 *   positions, some in hundreds.
 * - `learned`: −e^r with a learned r per key-value head.
 * - `data`: −e^r·softplus(⟨w, v_t⟩)/ln 2, with r and w learned. It starts as `learned`, with w = 0. Values, and not keys, open
 *   and close the gate: they are a linear map of the hidden state that rotary positions do not turn.
 */
import { z } from 'zod';
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { sum } from '../../../graph/ops/contraction.ts';
import { add, exp, log, minimum, mul, neg, sigmoid } from '../../../graph/ops/elementwise.ts';
import { tensor } from '../../../graph/tensor.ts';
import { reshape, slice } from '../../../graph/ops/layout.ts';
import type { AttentionDims, MixerParameter, MixerParameterValues } from '../../mixer.ts';
import type { ReferencePositions } from '../../reference.ts';
import { dot } from '../../reference-rows.ts';
import { fixedDecay } from '../window/config.ts';

export const decaySchema = z.enum(['none', 'fixed', 'learned', 'data']);
export type Decay = z.infer<typeof decaySchema>;

/** r, per key-value head [M]. */
const rateName = 'decay_rate';
/** w, per key-value head [M,E]. */
const gateName = 'decay_gate';

/** Largest argument of the softplus: no decay is stronger, and e^x stays far from the end of float32. */
const largestGate = 60;

export function decayParameters(decay: Decay, dims: AttentionDims): MixerParameter[] {
  const { keyValueHeads, headWidth, valueWidth = headWidth } = dims;
  const rate: MixerParameter = { name: rateName, shape: [keyValueHeads], init: 'slopes' };
  const gate: MixerParameter = { name: gateName, shape: [keyValueHeads, valueWidth], init: 'zeros' };
  return { none: [], fixed: [], learned: [rate], data: [rate, gate] }[decay];
}

/** "learned decay". */
export function describeDecay(decay: Decay): string {
  return { none: 'no decay', fixed: 'fixed decay', learned: 'learned decay', data: 'decay by data' }[decay];
}

function learned(parameters: MixerParameterValues, name: string): Value {
  const value = parameters[name];
  if (value === undefined) throw internalError(`a decay without its ${name}`);
  return value;
}

/** g of every position [B,n,M,1]. @param v [B,n,M,E]; B and n may be named dimensions */
export function logDecays(decay: Decay, v: Value, parameters: MixerParameterValues): Value {
  const M = Number(v.shape[2]);
  const rates = (): Value => neg(exp(reshape(learned(parameters, rateName), [M, 1])));
  if (decay === 'data') {
    const gates = sum(mul(v, learned(parameters, gateName)), [-1], true);
    // softplus(x) = −ln σ(−x)
    const softplus = neg(log(sigmoid(neg(minimum(gates, largestGate)))));
    return mul(softplus, mul(rates(), 1 / Math.LN2));
  }
  const none = mul(slice(v, 3, 0, 1), 0);
  if (decay === 'none') return none;
  if (decay === 'learned') return add(none, rates());
  const fixed = v.graph.sharedConstant(`fixed log decays ${M}`, () =>
    tensor('float32', [M, 1], Float32Array.from(fixedDecay(M))),
  );
  return add(none, fixed);
}

/** g of every position of a key-value head, in float64: [n]. */
export function referenceLogDecays(decay: Decay, positions: ReferencePositions, kvHead: number): Float64Array {
  const E = positions.valueWidth;
  const { keyValueHeads } = positions.input.dims;
  const rate = (): number => -Math.exp(positions.parameter(rateName)[kvHead]);
  const gateOf = (position: number): number => {
    const gate = positions.parameter(gateName).subarray(kvHead * E, (kvHead + 1) * E);
    return Math.log1p(Math.exp(Math.min(largestGate, dot(gate, positions.value(kvHead, position))))) / Math.LN2;
  };
  const of: Readonly<Record<Decay, (position: number) => number>> = {
    none: () => 0,
    fixed: () => fixedDecay(keyValueHeads)[kvHead],
    learned: rate,
    data: (position) => rate() * gateOf(position),
  };
  return Float64Array.from({ length: positions.keyLength }, (_, position) => of[decay](position));
}
