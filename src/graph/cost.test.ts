import { describe, expect, it } from 'vitest';
import { graphCost } from './cost.ts';
import { Graph } from './graph.ts';
import { matmul } from './ops/contraction.ts';
import { add, exp, mul } from './ops/elementwise.ts';
import { concat, reshape } from './ops/layout.ts';

const bytes = (count: number): number => 4 * count;

describe('the cost of a graph', () => {
  it('is what is alive at once, not what is made', () => {
    const graph = new Graph('chain');
    const x = graph.input('x', 'float32', [10, 10]);
    const w = graph.input('w', 'float32', [10, 10]);
    let value = x;
    for (let i = 0; i < 5; i++) value = matmul(value, w);
    graph.output('y', value);
    expect(graphCost(graph)).toEqual({
      peakBytes: bytes(200), // a product and its input
      inputBytes: bytes(200),
      outputBytes: bytes(100),
      operations: 5 * 2 * 1000,
    });
  });

  it('takes element-wise results in place of inputs, and other shapes of a value for the value', () => {
    const graph = new Graph('in place');
    const x = graph.input('x', 'float32', [8]);
    const y = add(mul(exp(mul(x, 2)), 3), 1);
    graph.output('y', reshape(y, [2, 4]));
    expect(graphCost(graph).peakBytes).toBe(bytes(8 + 3)); // and three constants
  });

  it('keeps a value until its last reader has run', () => {
    const graph = new Graph('kept');
    const x = graph.input('x', 'float32', [4, 4]);
    const kept = matmul(x, x);
    const long = matmul(matmul(kept, x), x);
    graph.output('y', concat([long, kept], 0));
    expect(graphCost(graph).peakBytes).toBe(bytes(4 * 16));
  });

  it('counts products of batches, and operands that are transposed', () => {
    const graph = new Graph('products');
    const a = graph.input('a', 'float32', [3, 7, 5]);
    const b = graph.input('b', 'float32', [3, 11, 7]);
    graph.output('y', matmul(a, b, { transposeA: true, transposeB: true }));
    expect(graphCost(graph).operations).toBe(2 * 3 * 5 * 7 * 11);
  });

  it('needs sizes', () => {
    const graph = new Graph('named');
    graph.output('y', exp(graph.input('x', 'float32', ['T'])));
    expect(() => graphCost(graph)).toThrow(RangeError);
  });
});
