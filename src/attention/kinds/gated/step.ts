/**
 * Gated linear attention over token trees. The ring keeps features of keys with their log decays, [φ(k), g], and values; S is
 * the decayed Σ φ(k)ᵀv at the end of the last chunk that has closed.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul, sum } from '../../../graph/ops/contraction.ts';
import { add, exp, mul } from '../../../graph/ops/elementwise.ts';
import { concat, split } from '../../../graph/ops/layout.ts';
import { cumulativeSum } from '../../../graph/ops/scan.ts';
import type { AttentionDims, Fold, LayoutInputs, StateShape, StepInput, MixerStepOutput } from '../../mixer.ts';
import { ringState } from '../../state.ts';
import { addStepConvolution, blocksOf, nodeRows } from '../../step-blocks.ts';
import { keyMapName, queryMapName } from '../features/maps.ts';
import { amplifiedNodes, type GatedMixer, mapRows, widthOf } from './config.ts';
import { ageName, agesOf, declareAges, logDecays, stepDecays } from './decay.ts';
import { normalizedSum, summedValues, summedWidth } from '../features/output.ts';

export const gatedInputs: LayoutInputs<GatedMixer> = {
  tag: () => 'a',
  declare: (_, { slots }) => ({ [ageName]: declareAges(slots) }),
  feeds: ({ group }, steps, _, slots) => ({ [ageName]: agesOf(group, steps, slots) }),
};

/** The ring, and S [M,F,E], with the denominators of a ratio as one more column. */
export function gatedState({ group, map, output, convolution }: GatedMixer, dims: AttentionDims): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  const F = widthOf(map, headWidth);
  const folded = { kind: 'sums', rows: F, columns: summedWidth(output, valueWidth) } as const;
  return ringState(dims, { group, convolution, folded, keyWidth: F + 1 });
}

export function gatedStep({ map, decay, output }: GatedMixer, input: StepInput): MixerStepOutput {
  const { heads, sums, parameters, scoring } = input;
  const values = nodeRows(input.v); // [B,M,T,E]
  const { scale } = scoring;
  const keys = mapRows(map, nodeRows(input.k), { side: 'key', scale, weight: parameters[keyMapName] }); // [B,M,T,F]
  const context = { side: 'query', scale, weight: parameters[queryMapName] } as const;
  const queries = heads.mapped((rows) => mapRows(map, rows, context)); // [B,M,R*T,F]
  const treeLogs = nodeRows(logDecays(decay, input.v, parameters)); // [B,M,T,1]
  const [ringKeys, ringLogs] = splitRows(input.ring.keys);
  const decays = stepDecays(input, ringLogs, treeLogs);
  const read = (rows: Value, own: Value, factor: Value): Value =>
    matmul(mul(matmul(queries, rows, { transposeB: true }), heads.repeat(factor)), summedValues(output, own));
  let mixed = add(read(ringKeys, input.ring.values, decays.ring), read(keys, values, decays.tree));
  if (sums !== undefined) mixed = add(mixed, matmul(mul(queries, heads.repeat(decays.sums)), sums));
  const kept = concat([keys, treeLogs], 3);
  const { all: blocks } = blocksOf(input, kept, values);
  const amplified = amplifiedNodes(normalizedSum(output, mixed), heads, parameters);
  return { mixed: addStepConvolution(amplified, input, blocks), keys: kept, values };
}

/** φ(k) and g of rows that were kept as [φ(k), g]. */
export function splitRows(kept: Value): readonly Value[] {
  return split(kept, kept.rank - 1, [Number(kept.shape[kept.rank - 1]) - 1, 1]);
}

/** S decayed over n rows, plus their terms: keys [X,n,F], their g [X,n,1], values [X,n,E], S [X,F,E]. */
export function foldDecayed(sums: Value, keys: Value, logs: Value, values: Value): Value {
  const behind = cumulativeSum(logs, 1, { exclusive: true, reverse: true });
  const added = matmul(mul(keys, exp(behind)), values, { transposeA: true });
  return add(mul(sums, exp(sum(logs, [1], true))), added);
}

export const gatedFold: Fold<GatedMixer> = {
  shareAs: ({ map, output }) => `gated ${map.name} ${output}`,
  fold({ output }, { keys, values, sums }) {
    const [features, logs] = splitRows(keys);
    return foldDecayed(sums, features, logs, summedValues(output, values));
  },
};
