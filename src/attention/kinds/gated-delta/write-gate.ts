/** β = σ(⟨w, v_t⟩ + b), per key-value head: the fraction of a key's stored value that is replaced. */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { sum } from '../../../graph/ops/contraction.ts';
import { add, mul, sigmoid } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import type { MixerParameterValues } from '../../mixer.ts';
import type { ReferencePositions } from '../../reference.ts';
import { dot } from '../../reference-rows.ts';
import { writeBiasName, writeGateName } from './config.ts';

/** β of every position [B,n,M,1]. @param v [B,n,M,E] */
export function writeGates(v: Value, parameters: MixerParameterValues): Value {
  const { [writeGateName]: gate, [writeBiasName]: bias } = parameters;
  if (gate === undefined || bias === undefined) throw internalError('a delta rule without its write gate');
  return sigmoid(add(sum(mul(v, gate), [-1], true), reshape(bias, [v.shape[2], 1])));
}

/** β of a position of a key-value head, in float64. */
export function referenceWriteGate(positions: ReferencePositions, kvHead: number, position: number): number {
  const E = positions.valueWidth;
  const gate = positions.parameter(writeGateName).subarray(kvHead * E, (kvHead + 1) * E);
  const score = dot(gate, positions.value(kvHead, position)) + positions.parameter(writeBiasName)[kvHead];
  return 1 / (1 + Math.exp(-score));
}
