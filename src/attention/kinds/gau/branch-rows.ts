/** The rows of the branches of a gated attention unit, out of the one row that a position has. */
import type { Value } from '../../../graph/graph.ts';
import { split } from '../../../graph/ops/layout.ts';
import type { GauMixer } from './config.ts';

/** One row per branch. A branch that the mixer does not have is given the other's, and not looked at. */
export interface BranchRows {
  readonly local: Value;
  readonly global: Value;
}

/** Rows [...,2S], local and global next to each other, or [...,S] of the one branch there is. */
export function branchRows({ local, global }: GauMixer, rows: Value): BranchRows {
  if (local === null || !global) return { local: rows, global: rows };
  const S = Number(rows.shape[rows.rank - 1]) / 2;
  const [localRows, globalRows] = split(rows, rows.rank - 1, [S, S]);
  return { local: localRows, global: globalRows };
}

/** Width of a row: S, or twice that with both branches. */
export function unitRowWidth({ local, global }: GauMixer, S: number): number {
  return local !== null && global ? 2 * S : S;
}
