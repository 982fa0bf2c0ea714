/** Losses over positions, by blocks: of a large vocabulary the logits [T,V] are the largest tensors of a step. */
import type { Value } from '../../graph/graph.ts';
import { addAll } from '../../graph/ops/elementwise.ts';
import { split } from '../../graph/ops/layout.ts';
import { gradientAfter } from '../../graph/ops/surrogate-gradient.ts';

/** Logits of a block, in numbers: 128 MiB, of which a loss and its gradient hold some. */
const mostLogits = 1 << 25;
/** Positions of a block are a multiple of this, at least one. */
const blockStep = 16;

/**
 * Values of positions, block by block.
 * @param values tensors [positions, …], which are cut along their first axis
 * @param most logits of a block; default 2²⁵
 */
export function overPositions(
  values: readonly Value[],
  vocabulary: number,
  make: (values: readonly Value[]) => Value,
  most = mostLogits,
): Value[] {
  const positions = Number(values[0].shape[0]);
  const size = Math.max(1, Math.floor(most / vocabulary / blockStep)) * blockStep;
  const sizes = Array.from({ length: Math.ceil(positions / size) }, (_, i) => Math.min(size, positions - i * size));
  const blocks = values.map((value) => split(value, 0, sizes));
  return sizes.map((_, i) => make(blocks.map((parts) => parts[i])));
}

/** The sum of a loss over positions, forward and backward block by block; parameters as of `overPositions`. */
export function sumOverPositions(...[values, vocabulary, lossOf, most]: Parameters<typeof overPositions>): Value {
  const sums = overPositions(values, vocabulary, lossOf, most);
  return addAll(sums.length === 1 ? sums : sums.map((sum) => gradientAfter(sum)));
}
