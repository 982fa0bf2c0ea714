/** The rows of the branches of a gated attention unit, out of the one row that a position has. */
import type { Value } from '../../graph/graph.ts';
import { split } from '../../graph/ops/layout.ts';
import type { GauMixer } from '../mixer-config.ts';

/** One row per branch. A branch that the mixer does not have is given the other's, and not looked at. */
export interface BranchRows {
  readonly local: Value;
  readonly global: Value;
}

/** Rows [...,2S], local and global side by side, or [...,S] of the one branch there is. */
export function branchRows({ local, global }: GauMixer, rows: Value): BranchRows {
  if (local === null || !global) return { local: rows, global: rows };
  const S = Number(rows.shape[rows.rank - 1]) / 2;
  const [localRows, globalRows] = split(rows, rows.rank - 1, [S, S]);
  return { local: localRows, global: globalRows };
}

/** What q·k and the bias are divided by in the scores of the local branch. */
export function scoreDivisors({ local, group }: GauMixer): { readonly product: number; readonly bias: number } {
  return { product: local?.divisor ?? group ?? 1, bias: local?.biasDivisor ?? 1 };
}
