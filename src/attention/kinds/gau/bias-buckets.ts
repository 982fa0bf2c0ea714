/** The bias of scores by distance in a gated attention unit: √S times a learned number per bucket. */
import { mul } from '../../../graph/ops/elementwise.ts';
import { type BucketScheme, relativeBucket } from '../../../nn/relative-positions.ts';
import type { MixerParameterValues } from '../../mixer.ts';
import type { RelativeBias } from '../../scoring.ts';

/** Name of the table of biases [32,1], shared by the heads. */
export const gauBiasTable = 'rel_pos_bias.relative_attention_bias.weight';

/** Rows of the table of biases. */
export const biasBuckets = 32;

/** Every causal distance beyond it has its bucket. */
export const biasReach = 128;

/** The scheme of T5, with FLASH's numbers. */
function biasScheme(causal: boolean): BucketScheme {
  return { buckets: biasBuckets, farthest: biasReach, causal };
}

/** The bucket of a distance query − key. */
export function biasBucket(distance: number, causal: boolean): number {
  return relativeBucket(distance, biasScheme(causal));
}

/** √S · table / divisor as a bias by distance, with the one head that it has; undefined without a table. */
export function unitBias(
  parameters: MixerParameterValues,
  queryKeyWidth: number,
  divisor: number,
  causal: boolean,
): RelativeBias | undefined {
  const table = parameters[gauBiasTable];
  if (table === undefined) return undefined;
  return { table: mul(mul(table, Math.sqrt(queryKeyWidth)), 1 / divisor), scheme: biasScheme(causal) };
}
