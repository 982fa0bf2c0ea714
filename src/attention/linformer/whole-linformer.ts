/**
 * Linformer as published (Wang et al., "Linformer: Self-Attention with Linear Complexity"): keys and values of the whole
 * sequence are projected to r rows, which every position attends to. It is meant for encoders. In a causal model every
 * output depends on every later token.
 */
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { reshape, slice, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { softmax } from '../../graph/ops/softmax.ts';
import type { LinformerMixer } from '../mixer.ts';
import type { MixerParameterValues, ProjectedPositions } from '../mixer-values.ts';

/**
 * softmax(q·(E k)ᵀ/√d)·(F v), without the convolution. E and F [r,N] are cut to the length of the sequence of keys.
 *
 * @param positions q [B,m,H,D], k and v of n positions; keys and values of padding must be zero
 * @returns [B,m,H,E]
 * @throws LinnetError `SHAPE` for a sequence longer than N
 */
export function linformerParallel(
  config: LinformerMixer,
  { q, k, v }: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const [B, m, H, D] = q.shape.map(Number);
  const [, n, M, E] = v.shape.map(Number);
  requireFittingLength(config, n);
  const { 'linformer_k.weight': keyRows, 'linformer_v.weight': valueRows } = parameters;
  if (keyRows === undefined || valueRows === undefined) {
    throw new LinnetError('INTERNAL', 'internal: a Linformer mixer without its projections');
  }
  const projected = (rows: Value, x: Value): Value => matmul(slice(rows, 1, 0, n), transpose(x, [0, 2, 1, 3]));
  const keys = projected(keyRows, k); // [B,M,r,D]
  const values = projected(valueRows, v); // [B,M,r,E]
  const perKeyHead = transpose(reshape(mul(q, 1 / Math.sqrt(D)), [B, m, M, H / M, D]), [0, 2, 3, 1, 4]);
  const queries = reshape(perKeyHead, [B, M, (H / M) * m, D]);
  const mixed = matmul(softmax(matmul(queries, keys, { transposeB: true })), values); // [B,M,R*m,E]
  return reshape(transpose(reshape(mixed, [B, M, H / M, m, E]), [0, 3, 1, 2, 4]), [B, m, H, E]);
}

/** @throws LinnetError `SHAPE` for a sequence longer than the learned projections */
export function requireFittingLength({ length }: LinformerMixer, positions: number): void {
  if (positions <= length) return;
  throw new LinnetError(
    'SHAPE',
    `a Linformer mixer has projections for ${length} positions, got a sequence of ${positions}; cut the sequence`,
  );
}
