import { describe, expect, it } from 'vitest';
import { vectorJacobian } from '../graph/gradients.ts';
import { Graph } from '../graph/graph.ts';
import { float32 } from '../graph/tensor.ts';
import { compile } from '../runtime/compile.ts';
import { toeplitz, toeplitzColumn } from './relative-positions.ts';

describe('toeplitz', () => {
  it.each([1, 2, 5])('spreads 2·%i numbers over a matrix, and sums gradients over its diagonals', async (n) => {
    const H = 2;
    const graph = new Graph();
    const offsets = graph.input('offsets', 'float32', [H, 2 * n]);
    const matrix = toeplitz(offsets, n);
    graph.output('matrix', matrix);
    const upstream = Float32Array.from({ length: H * n * n }, (_, i) => i + 1);
    graph.output('gradient', vectorJacobian([matrix], [graph.constant(float32([H, n, n], upstream))], [offsets])[0]);
    const given = Float32Array.from({ length: H * 2 * n }, (_, i) => 100 + i);
    const program = await compile(graph);
    const results = await program.run({ offsets: float32([H, 2 * n], given) }, ['matrix', 'gradient']);
    await program.dispose();
    const expected = new Float32Array(H * 2 * n);
    for (let h = 0; h < H; h++) {
      for (let row = 0; row < n; row++) {
        for (let column = 0; column < n; column++) {
          const place = h * 2 * n + toeplitzColumn(row - column, n);
          const at = (h * n + row) * n + column;
          expect(results.matrix.data[at]).toBe(given[place]);
          expected[place] += upstream[at];
        }
      }
    }
    expect([...results.gradient.data]).toEqual([...expected]);
  });
});
