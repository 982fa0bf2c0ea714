/** Sums over attention weights: shares of branches, of groups, of tokens. Weights may be negative; shares are of sizes. */
import type { Branch } from '../../src/attention/mixer.ts';

/** Weights [H,T,T] by branch. */
export type BranchWeights = Readonly<Partial<Record<Branch, Float32Array>>>;

/** In this order everywhere, with the colour of each. */
export const shownBranches: Readonly<Record<Branch, { readonly title: string; readonly series: number }>> = {
  window: { title: 'window', series: 0 },
  memory: { title: 'memory', series: 1 },
  sinks: { title: 'sinks', series: 3 },
  convolution: { title: 'convolution', series: 2 },
};

/** The present branches in display order. */
export function branchesOf(weights: BranchWeights): Branch[] {
  return branchNames.filter((branch) => weights[branch] !== undefined);
}

const branchNames: readonly Branch[] = ['window', 'memory', 'sinks', 'convolution'];

/** What position t of a head reads, by branch: [T] each. */
export function rowsAt(weights: BranchWeights, head: number, t: number, length: number): BranchWeights {
  const start = (head * length + t) * length;
  return Object.fromEntries(
    branchesOf(weights).map((branch) => [branch, weights[branch]?.subarray(start, start + length)]),
  );
}

/** The sizes of rows, added up over the positions from `first` to `end` − 1, by branch. */
export function sizes(rows: BranchWeights, first = 0, end = Number.POSITIVE_INFINITY): Partial<Record<Branch, number>> {
  return Object.fromEntries(
    branchesOf(rows).map((branch) => {
      const row = rows[branch] ?? new Float32Array(0);
      return [branch, row.subarray(first, Math.min(end, row.length)).reduce((sum, w) => sum + Math.abs(w), 0)];
    }),
  );
}

/** All of them. */
export function total(given: Partial<Record<Branch, number>>): number {
  return Object.values(given).reduce((sum, size) => sum + size, 0);
}
