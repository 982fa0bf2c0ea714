/** Mamba-2 over whole sequences: products under the decays inside chunks, and a decayed sum over the chunks before. */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { groupKeys, makeGrouping, ungroupQueries } from '../../grouping.ts';
import type { SequenceInput } from '../../mixer.ts';
import { chunkDecays, decayedSumsBefore } from '../gated/decay.ts';
import { convolvedSequences } from '../short-conv/forms.ts';
import { groupedFilters, joinedRows, type Mamba2Mixer, mamba2Rows, skipped } from './config.ts';

export function mamba2Parallel(config: Mamba2Mixer, input: SequenceInput): Value {
  const { heads: H, headWidth: P, state: N, groups: Γ, group } = config;
  const filters = groupedFilters(config, input.parameters);
  const rows = mamba2Rows(config, input, convolvedSequences(joinedRows(config, input), filters));
  const [B, n] = input.q.shape.map(Number);
  const perHead = makeGrouping(B, n, group, H, H);
  const perGroup = { ...perHead, keyValueHeads: Γ };
  const { group: c, groups } = perHead;
  const shared = (grouped: Value): Value => reshape(grouped, [Γ, 1, B * groups, c, N]);
  const ofHeads = (grouped: Value): Value => reshape(grouped, [Γ, H / Γ, ...grouped.shape.slice(1)]);
  const queries = groupKeys(perGroup, rows.queries); // [Γ,B*N,c,N]
  const keys = groupKeys(perGroup, rows.keys);
  const values = ofHeads(groupKeys(perHead, rows.values)); // [Γ,R,B*N,c,P]
  const { within, fromStart, toEnd, total } = chunkDecays(groupKeys(perHead, rows.decays));
  const scores = reshape(matmul(queries, keys, { transposeB: true }), [Γ, 1, B * groups, c, c]);
  let mixed = matmul(mul(ofHeads(within), scores), values); // [Γ,R,B*N,c,P]
  if (groups > 1) {
    const added = matmul(shared(keys), mul(values, ofHeads(toEnd)), { transposeA: true }); // [Γ,R,B*N,N,P]
    const before = decayedSumsBefore(perHead, reshape(added, [H, B * groups, N, P]), total);
    mixed = add(mixed, mul(matmul(shared(queries), ofHeads(before)), ofHeads(fromStart)));
  }
  const y = ungroupQueries(perHead, reshape(mixed, [H, B * groups, c, P])); // [B,n,H,P]
  return reshape(add(y, skipped(rows.x, input.parameters)), [B, n, Γ, (H / Γ) * P]);
}
