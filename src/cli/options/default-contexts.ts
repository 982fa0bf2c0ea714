/** Contexts that a benchmark measures when none are asked for. */
import type { CausalModel } from '../../models/model.ts';

/**
 * The usual contexts, as far as a model's learned positions reach: longer ones become the longest that there is room for.
 *
 * @param beyond positions that the measurement reads after a context
 */
export function contextsWithin(
  usual: readonly number[],
  { positions }: Pick<CausalModel, 'positions'>,
  beyond = 0,
): number[] {
  const longest = Math.max(1, positions.limit - beyond);
  return [...new Set(usual.map((context) => Math.min(context, longest)))];
}
