/** Configuration of the gated delta rule. */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { sum } from '../../../graph/ops/contraction.ts';
import { add, mul, sigmoid } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { convolutionField, filterParameters, withConvolution } from '../../convolution-config.ts';
import type { AttentionDims, MixerParameter, MixerParameterValues } from '../../mixer.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { dot, type ReferencePositions } from '../../reference.ts';
import { gainParameter } from '../gated/config.ts';
import { decayParameters, decaySchema, describeDecay } from '../gated/decay.ts';
import { learnedParameter } from '../../attention-layer.ts';

export const gatedDeltaSchema = z.strictObject({
  kind: z.literal('gated-delta'),
  /** Positions per chunk. It sizes the computation and the state; the result does not depend on it. */
  group: groupSchema.default(defaultGroup),
  /** `none` is the delta rule without a gate. */
  decay: decaySchema.default('data'),
  /** `rms`: divides every head by its root mean square. `none`: leaves the state's read-out unchanged. */
  output: z.enum(['none', 'rms']).default('none'),
  convolution: convolutionField,
});

/** The gated delta rule. */
export type GatedDeltaMixer = z.infer<typeof gatedDeltaSchema>;

/** w [M,E] in β = σ(⟨w, v⟩ + b). */
const writeGateName = 'write_gate';
/** b [M] in it. */
export const writeBiasName = 'write_bias';

/** "gated delta rule with decay by data + convolution 63, G = 64". */
export function describeGatedDelta({ decay, output, convolution, group }: GatedDeltaMixer): string {
  const rule = decay === 'none' ? 'delta rule' : `gated delta rule with ${describeDecay(decay)}`;
  return `${withConvolution(output === 'rms' ? `${rule} and rms norm` : rule, convolution)}, G = ${group}`;
}

export function gatedDeltaParameters({ decay, convolution }: GatedDeltaMixer, dims: AttentionDims): MixerParameter[] {
  const { keyValueHeads, headWidth, valueWidth = headWidth } = dims;
  return [
    ...decayParameters(decay, dims),
    { name: writeGateName, shape: [keyValueHeads, valueWidth], init: 'zeros' },
    { name: writeBiasName, shape: [keyValueHeads], init: 'zeros' },
    gainParameter(dims),
    ...filterParameters(convolution, dims),
  ];
}

/** Every position's β [B,n,M,1]. @param v [B,n,M,E] @param sigmoidOf a function of rows [B,n,M,1] */
export function writeGates(
  v: Value,
  parameters: MixerParameterValues,
  sigmoidOf: (x: Value) => Value = sigmoid,
): Value {
  const products = sum(mul(v, learnedParameter(parameters, writeGateName)), [-1], true);
  return sigmoidOf(add(products, reshape(learnedParameter(parameters, writeBiasName), [v.shape[2], 1])));
}

/** A key-value head's β at a position, in float64. */
export function referenceWriteGate(positions: ReferencePositions, kvHead: number, position: number): number {
  const E = positions.valueWidth;
  const gate = positions.parameter(writeGateName).subarray(kvHead * E, (kvHead + 1) * E);
  const score = dot(gate, positions.value(kvHead, position)) + positions.parameter(writeBiasName)[kvHead];
  return 1 / (1 + Math.exp(-score));
}
