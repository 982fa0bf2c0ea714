/** Stand-in until every mixer has a bidirectional form: softmax attention over the tokens that are not padding. */
import type { MixerConfig } from '../../attention/mixer.ts';
import { hiddenScore, type MixerParameterValues, type ProjectedPositions } from '../../attention/parallel.ts';
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { add, mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { softmax } from '../../graph/ops/softmax.ts';

export function mixBidirectional(
  config: MixerConfig,
  { q, k, v }: ProjectedPositions,
  mask: Value,
  _parameters: MixerParameterValues,
): Value {
  if (config.kind !== 'softmax') throw new LinnetError('CONFIG', `mixers of kind "${config.kind}" only read the past`);
  const [B, n, , D] = q.shape;
  const byHead = (x: Value): Value => transpose(x, [0, 2, 1, 3]); // [B,H,n,D]
  const scores = matmul(mul(byHead(q), 1 / Math.sqrt(Number(D))), byHead(k), { transposeB: true }); // [B,H,n,n]
  const hidden = mul(sub(1, reshape(mask, [B, 1, 1, n])), hiddenScore);
  return transpose(matmul(softmax(add(scores, hidden)), byHead(v)), [0, 2, 1, 3]);
}
