/** A learned gain per query head, for outputs not divided by their weights, whose size differs from that of values. */
import type { Value } from '../../../graph/graph.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import type { HeadLayout } from '../../head-layout.ts';
import type { HeadCounts, MixerParameter, MixerParameterValues } from '../../mixer.ts';

/** [H] */
export const gainName = 'output_gain';

export function gainParameter({ heads }: HeadCounts): MixerParameter {
  return { name: gainName, shape: [heads], init: 'ones' };
}

/** Outputs [B,n,H,E] times the gains of their heads, where the mixer has gains. */
export function amplified(mixed: Value, { [gainName]: gain }: MixerParameterValues): Value {
  return gain === undefined ? mixed : mul(mixed, reshape(gain, [mixed.shape[2], 1]));
}

/** The same for nodes of trees: [B,M,R·T,E]. */
export function amplifiedNodes(mixed: Value, heads: HeadLayout, { [gainName]: gain }: MixerParameterValues): Value {
  if (gain === undefined) return mixed;
  const [B, M, R, T] = heads.queries.shape;
  const perHead = reshape(mixed, [B, M, R, T, mixed.shape[3]]); // head h = m*R + r
  return heads.join(mul(perHead, reshape(gain, [M, R, 1, 1])));
}
