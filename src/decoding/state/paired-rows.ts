/** Rows of products in pairs, for kernels that add up the last of an odd number in an order of its own. */
import type { StepRequest } from './step-feeds.ts';

/** An even number of rows of products: one more for each tree, or a sequence more that nobody reads, whichever is less. */
export function pairedRows(
  requests: readonly StepRequest[],
  nodes: number,
): { readonly rows: readonly StepRequest[]; readonly products: number } {
  if ((requests.length * nodes) % 2 === 0) return { rows: requests, products: nodes };
  if (requests.length <= nodes) return { rows: requests, products: nodes + 1 };
  return { rows: [...requests, { ...requests[0], wanted: [] }], products: nodes };
}
