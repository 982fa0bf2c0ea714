/**
 * Learned sink logits, as in gpt-oss: p_ij = e^{s_ij} / (e^{sink} + Σ_j e^{s_ij}) with one logit per query head and no
 * value, so that a head can read nothing. The logit is a column of the scores, so their maximum includes it.
 */
import { z } from 'zod';
import type { Value } from '../graph/graph.ts';
import { broadcastTo } from '../graph/ops/contraction.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { concat, reshape, slice } from '../graph/ops/layout.ts';
import { softmax } from '../graph/ops/normalization.ts';
import type { Grouping } from './grouping.ts';
import type { HeadLayout } from './head-layout.ts';
import type { HeadCounts, MixerConfig, MixerParameter, MixerParameterValues } from './mixer.ts';

/** The logits' name in gpt-oss checkpoints; one per query head [H]. */
export const sinkLogitName = 'sinks';

/** The configuration field; absent without a logit. */
export const sinkLogitField = z.literal(true).optional();

interface SinkLogitConfig extends MixerConfig {
  readonly sinkLogit?: true;
}

export function sinkLogitParameters({ sinkLogit }: SinkLogitConfig, { heads }: HeadCounts): MixerParameter[] {
  return sinkLogit === undefined ? [] : [{ name: sinkLogitName, shape: [heads], init: 'inaudible' }];
}

/** The logits as a column of scores in groups: [M,B·N,R·G,1]; undefined without them. */
export function sinkOfGroups(
  { batch: B, groups: N, keyValueHeads: M, repeat: R, group: G }: Grouping,
  parameters: MixerParameterValues,
): Value | undefined {
  const logits = parameters[sinkLogitName];
  return logits && reshape(broadcastTo(reshape(logits, [M, 1, R, 1]), [M, B * N, R, G]), [M, B * N, R * G, 1]);
}

/** The logits as a column of nodes' scores: [B,M,R·T,1]; undefined without them. */
export function sinkOfNodes(heads: HeadLayout, parameters: MixerParameterValues): Value | undefined {
  const logits = parameters[sinkLogitName];
  const [, M, R] = heads.queries.shape;
  // Zeros in the queries' shape, which has named dimensions.
  return logits && heads.join(add(mul(slice(heads.queries, 4, 0, 1), 0), reshape(logits, [M, R, 1, 1])));
}

/** Softmax over the last of four axes; the denominator includes the sink's column, if any. */
export function softmaxWithSink(scores: Value, sink: Value | undefined): Value {
  return sink === undefined ? softmax(scores) : slice(softmax(concat([sink, scores], 3)), 3, 1);
}
