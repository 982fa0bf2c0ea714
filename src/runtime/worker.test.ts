import { monitorEventLoopDelay } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { LinnetError } from '../errors.ts';
import { Graph } from '../graph/graph.ts';
import { defineOp } from '../graph/graph.ts';
import { float32 } from '../graph/tensor.ts';
import { compile } from './compile.ts';
import { openWorkerSession } from './worker.ts';

const product = defineOp<Record<string, never>>({
  name: 'product',
  infer: ([a, b]) => [{ dtype: 'float32', shape: [a.shape[0], b.shape[1]] }],
  lower: (emitter, node) => {
    emitter.emit(
      'MatMul',
      node.inputs.map((input) => emitter.name(input)),
      node.outputs.map((output) => emitter.name(output)),
    );
  },
  gradient: { notDifferentiable: 'test' },
});

function products(count: number, size: number): Graph {
  const graph = new Graph('products');
  const x = graph.input('x', 'float32', ['T', size]);
  const w = graph.weight('w', float32([size, size], new Array(size * size).fill(1 / size)));
  let value = x;
  for (let index = 0; index < count; index++) value = product.apply([value, w], {})[0];
  graph.output('y', value);
  return graph;
}

describe('a program in a worker', () => {
  it('computes what it computes in this thread', async () => {
    const graph = products(2, 64);
    const x = float32(
      [3, 64],
      Array.from({ length: 192 }, (_, index) => Math.sin(index)),
    );
    await using here = await compile(graph);
    await using there = await compile(graph, { worker: true });
    const expected = await here.run({ x }, ['y']);
    const [first, second] = await Promise.all([there.run({ x }, ['y']), there.run({ x }, ['y'])]);
    expect(first.y).toEqual(expected.y);
    expect(second.y).toEqual(expected.y);
    expect(x.data.length).toBe(192);
  });

  it('leaves the event loop free', async () => {
    await using program = await compile(products(24, 768), { worker: true });
    const x = float32([2048, 768], new Array(2048 * 768).fill(1));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const started = performance.now();
    const { y } = await program.run({ x }, ['y']);
    const elapsed = performance.now() - started;
    delay.disable();
    clearInterval(timer);
    console.log(elapsed, ticks, delay.max / 1e6);
    expect(y.shape).toEqual([2048, 768]);
    expect(ticks).toBeGreaterThan(5);
    expect(delay.max / 1e6).toBeLessThan(elapsed / 2);
  });
});
