/** The memory of a segment has its weights as they are read, and as the engine converts them. */
import { expect, it } from 'vitest';
import { Graph } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { segmentsCost } from './segmented-program.ts';

it('counts all weights of a segment in float16 and in float32', () => {
  const graph = new Graph('two products');
  const x = graph.input('x', 'float32', [4, 64]);
  const [first, second] = ['first', 'second'].map((name) => graph.input(name, 'float32', [64, 64]));
  graph.output('y', matmul(matmul(x, first), second));
  const readInto = (): never => {
    throw new Error('a cost reads no weights');
  };
  const half = { dtype: 'float16' as const, shape: [64, 64], readInto };
  const { segmentBytes, readBytes } = segmentsCost(
    graph,
    new Map([
      ['first', half],
      ['second', half],
    ]),
  );
  expect(readBytes).toBe(2 * 2 * 64 * 64);
  expect(segmentBytes).toBeGreaterThanOrEqual(readBytes + 2 * 4 * 64 * 64);
  expect(segmentBytes).toBeLessThan(readBytes + 2.5 * 4 * 64 * 64);
});
