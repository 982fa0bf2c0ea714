/**
 * Gated linear attention over whole sequences: products under the decays inside each chunk, and a decayed sum of φ(k)ᵀv
 * over earlier chunks. Bidirectional: once from each end.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { int32 } from '../../../graph/tensor.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { reshape, transpose } from '../../../graph/ops/layout.ts';
import { addConvolution } from '../../convolution.ts';
import { groupingOf, groupKeys, groupQueries, repeatRows, ungroupQueries } from '../../grouping.ts';
import type { BidirectionalInput, SequenceInput } from '../../mixer.ts';
import { nodeRows } from '../../step-blocks.ts';
import { keyMapName, queryMapName } from '../features/maps.ts';
import { chunkDecays, decayedSumsBefore, logDecays } from './decay.ts';
import { amplified, type GatedMixer, mapRows } from './config.ts';
import { normalizedSum, summedValues } from '../features/output.ts';

/** Rows as they are multiplied and summed. */
interface GatedRows {
  /** φ(q) [B,n,H,F] */
  readonly queries: Value;
  /** φ(k) [B,n,M,F] */
  readonly keys: Value;
  /** v [B,n,M,E], plus ones for a ratio. */
  readonly values: Value;
  /** g [B,n,M,1] */
  readonly decays: Value;
}

/** The causal form: [B,n,H,E]. */
export function gatedParallel(config: GatedMixer, input: SequenceInput): Value {
  const grouping = groupingOf(input, config.group);
  const mixed = normalizedSum(
    config.output,
    ungroupQueries(grouping, decayedSum(config, rowsOf(config, input), false)),
  );
  return addConvolution(config.convolution, amplified(mixed, input.parameters), grouping, input.v, input.parameters);
}

/**
 * The encoder's form: an earlier position's weight decays with the tokens after it, a later one's with the tokens before
 * it. [B,n,H,E], without the convolution.
 */
export function gatedOfWhole(config: GatedMixer, input: BidirectionalInput): Value {
  const { mask } = input;
  const [B, n] = mask.shape.map(Number);
  const grouping = groupingOf(input, config.group);
  const tokens = reshape(mask, [B, n, 1, 1]);
  const all = rowsOf(config, input);
  const rows = { ...all, values: mul(all.values, tokens), decays: mul(all.decays, tokens) };
  const past = ungroupQueries(grouping, decayedSum(config, rows, false));
  const positionsFirst = [1, 0, 2, 3]; // its own inverse
  const backwards = (value: Value): Value =>
    transpose(gather(transpose(value, positionsFirst), reversal(value, n)), positionsFirst);
  const reversed = {
    queries: backwards(rows.queries),
    keys: backwards(rows.keys),
    values: backwards(rows.values),
    decays: backwards(rows.decays),
  };
  // The forward pass has read the position itself.
  const future = backwards(ungroupQueries(grouping, decayedSum(config, reversed, true)));
  return amplified(normalizedSum(config.output, add(past, future)), input.parameters);
}

function reversal(like: Value, n: number): Value {
  return like.graph.sharedConstant(`reversal ${n}`, () =>
    int32(
      [n],
      Int32Array.from({ length: n }, (_, i) => n - 1 - i),
    ),
  );
}

function rowsOf({ map, decay, output }: GatedMixer, { q, k, v, parameters, scoring }: SequenceInput): GatedRows {
  const headsFirst = nodeRows; // its own inverse
  const { scale } = scoring;
  return {
    queries: headsFirst(mapRows(map, headsFirst(q), { side: 'query', scale, weight: parameters[queryMapName] })),
    keys: headsFirst(mapRows(map, headsFirst(k), { side: 'key', scale, weight: parameters[keyMapName] })),
    values: summedValues(output, v),
    decays: logDecays(decay, v, parameters),
  };
}

/** Σ e^(Σ g)·⟨φ(q), φ(k)⟩·v over the past, including the position itself unless `strict`: [M,B·N,R·G,E or E+1]. */
function decayedSum({ group }: GatedMixer, rows: GatedRows, strict: boolean): Value {
  const grouping = groupingOf({ q: rows.queries, k: rows.keys }, group);
  const queries = groupQueries(grouping, rows.queries); // [M,B*N,R*G,F]
  const keys = groupKeys(grouping, rows.keys); // [M,B*N,G,F]
  const values = groupKeys(grouping, rows.values);
  const { within, fromStart, toEnd, total } = chunkDecays(groupKeys(grouping, rows.decays), strict);
  const weights = mul(matmul(queries, keys, { transposeB: true }), repeatRows(grouping, within));
  const inside = matmul(weights, values);
  if (grouping.groups === 1) return inside;
  const added = matmul(mul(keys, toEnd), values, { transposeA: true }); // [M,B*N,F,E]
  const before = decayedSumsBefore(grouping, added, total);
  return add(inside, matmul(mul(queries, repeatRows(grouping, fromStart)), before));
}
