/**
 * The gated delta rule over whole sequences, chunk by chunk (arXiv 2412.06464, section 3.3): inside a chunk the written values
 * solve a triangular system; a whole chunk maps the state S to T·S + P, and such maps are composed over the chunks in
 * ⌈log₂ N⌉ rounds of products.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, exp, mul, sub } from '../../../graph/ops/elementwise.ts';
import { concat, pad, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { addConvolution } from '../../convolution.ts';
import { type Grouping, groupingOf, groupKeys, groupQueries, repeatRows, ungroupQueries } from '../../grouping.ts';
import type { SequenceInput } from '../../mixer.ts';
import { chunkDecays, logDecays } from '../gated/decay.ts';
import { amplified } from '../gated/config.ts';
import { type GatedDeltaMixer, writeGates } from './config.ts';
import { identityMatrix, inverseOfChunks } from './unit-lower.ts';
import { normalizedSum } from '../features/output.ts';

/** The causal form: [B,n,H,E]. */
export function gatedDeltaParallel(config: GatedDeltaMixer, input: SequenceInput): Value {
  const { q, k, v, parameters } = input;
  const grouping = groupingOf(input, config.group);
  const mixed = deltaOfSequences(grouping, {
    queries: unitLength(q),
    keys: unitLength(k),
    values: v,
    gates: writeGates(v, parameters),
    logs: logDecays(config.decay, v, parameters),
  });
  const normalized = ungroupQueries(grouping, normalizedSum(config.output, mixed));
  const amplifiedRows = amplified(normalized, parameters);
  return addConvolution(config.convolution, amplifiedRows, grouping, v, parameters);
}

/** Rows as the rule multiplies them. */
export interface DeltaRows {
  /** [B,n,H,D] */
  readonly queries: Value;
  /** [B,n,M,D] */
  readonly keys: Value;
  /** [B,n,M,E] */
  readonly values: Value;
  /** β [B,n,M,1] */
  readonly gates: Value;
  /** g [B,n,M,1] */
  readonly logs: Value;
}

/** The rule over whole sequences, chunk by chunk: [M,B·N,R·G,E]. */
export function deltaOfSequences(grouping: Grouping, rows: DeltaRows): Value {
  const queries = groupQueries(grouping, rows.queries); // [M,B*N,R*G,D]
  const [keys, values, gates] = [rows.keys, rows.values, rows.gates].map((each) => groupKeys(grouping, each)); // [M,B*N,G,X]
  const { within, fromStart, toEnd, total } = chunkDecays(groupKeys(grouping, rows.logs));

  const inverse = inverseOfChunks(mul(mul(matmul(keys, keys, { transposeB: true }), within), gates)); // [M,B*N,G,G]
  // The written values are `fresh` − `replaced`·S, with S the state before the chunk.
  const fresh = matmul(inverse, mul(values, gates)); // [M,B*N,G,E]
  const inside = mul(matmul(queries, keys, { transposeB: true }), repeatRows(grouping, within));
  if (grouping.groups === 1) return matmul(inside, fresh);
  const replaced = matmul(inverse, mul(keys, mul(gates, fromStart))); // [M,B*N,G,D]
  const lasting = mul(keys, toEnd);
  const D = Number(keys.shape[3]);
  const kept = mul(identityMatrix(keys, D), exp(total)); // [M,B*N,D,D]
  const transitions = sub(kept, matmul(lasting, replaced, { transposeA: true }));
  const before = statesBefore(grouping, transitions, matmul(lasting, fresh, { transposeA: true })); // [M,B*N,D,E]
  const written = sub(fresh, matmul(replaced, before));
  return add(matmul(inside, written), matmul(mul(queries, repeatRows(grouping, fromStart)), before));
}

/**
 * The state before every chunk, if chunk b takes S to T_b·S + P_b. Each round composes every chunk's map with the map of
 * the 1, 2, 4 … chunks before it.
 * @param transitions T [M,B·N,D,D]
 * @param added P [M,B·N,D,E]
 * @returns [M,B·N,D,E]
 */
function statesBefore({ batch: B, groups: N, keyValueHeads: M }: Grouping, transitions: Value, added: Value): Value {
  const [, , D, E] = added.shape.map(Number);
  let maps = reshape(concat([transitions, added], 3), [M, B, N, D, D + E]);
  for (let distance = 1; distance < N; distance *= 2) {
    const later = slice(maps, 2, distance, N);
    const earlier = slice(maps, 2, 0, N - distance);
    const [transition, own] = split(later, 4, [D, E]);
    const composed = add(matmul(transition, earlier), pad(own, 4, D, 0));
    maps = concat([slice(maps, 2, 0, distance), composed], 2);
  }
  const after = slice(maps, 4, D, D + E); // [M,B,N,D,E]
  return reshape(pad(slice(after, 2, 0, N - 1), 2, 1, 0), [M, B * N, D, E]);
}
