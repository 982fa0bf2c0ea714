/** Weights that are made go through a file, which is gone when the graph is open. */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { Graph, type Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add } from '../graph/ops/elementwise.ts';
import { float32, type Tensor } from '../graph/tensor.ts';
import { compile } from './compile.ts';

const size = 2048;

function scratchFolders(): string[] {
  return readdirSync(tmpdir()).filter(
    (name) => name.startsWith('.linnet-weights.') && name.includes(`-${process.pid}-`),
  );
}

function productOf(load: () => Promise<Tensor<'float32'>>): Graph {
  const graph = new Graph('product');
  const weight = graph.weight('w', { dtype: 'float32', shape: [size, size], load });
  graph.output('y', matmul(graph.input('x', 'float32', [1, size]), weight));
  return graph;
}

it('gives the same numbers as weights in memory, and leaves no file', async () => {
  const w = float32(
    [size, size],
    Float32Array.from({ length: size * size }, (_, i) => ((i * 7) % 13) - 6),
  );
  let foldersBeside: string[] = [];
  const last = float32([size, 1], new Float32Array(size).fill(1));
  const graph = productOf(() => Promise.resolve(w));
  const behind = graph.weight('behind', {
    ...{ dtype: 'float32', shape: [size, 1] },
    load: () => {
      foldersBeside = scratchFolders();
      return Promise.resolve(last);
    },
  });
  graph.output('z', matmul(graph.input('x2', 'float32', [1, size]), behind));
  await using stored = await compile(graph, { scratch: true });
  expect(foldersBeside).toHaveLength(1);
  expect(scratchFolders()).toEqual([]);
  await using held = await compile(productOf(() => Promise.resolve(w)));
  const x = float32(
    [1, size],
    Float32Array.from({ length: size }, (_, i) => (i % 5) - 2),
  );
  const { y, z } = await stored.run({ x, x2: x }, ['y', 'z']);
  expect(y).toEqual((await held.run({ x }, ['y'])).y);
  expect(z.data[0]).toBe(x.data.reduce((sum, value) => sum + value, 0));
});

it('writes the tensors of a pass piece by piece', async () => {
  const graph = new Graph('sums');
  const half = (value: number): Float32Array => new Float32Array((size * size) / 2).fill(value);
  let passes = 0;
  const by = {
    async *pieces() {
      passes++;
      yield { a: half(1), b: half(2) };
      yield { a: half(3), b: half(4), other: half(5) };
    },
  };
  const weightOf = (part: string): Value =>
    graph.weight(part, {
      dtype: 'float32',
      shape: [size, size],
      load: () => Promise.reject(new Error('not in a pass')),
      pass: { by, part },
    });
  const x = graph.input('x', 'float32', [1, size]);
  graph.output('y', add(matmul(x, weightOf('a')), matmul(x, weightOf('b'))));
  await using program = await compile(graph, { scratch: true });
  const { y } = await program.run({ x: float32([1, size], new Float32Array(size).fill(1)) }, ['y']);
  expect(y.data).toEqual(new Float32Array(size).fill((size / 2) * (1 + 2 + 3 + 4)));
  expect(passes).toBe(1);
});

it('leaves no file where a weight cannot be made', async () => {
  const graph = productOf(() => Promise.reject(new Error('unreadable')));
  await expect(compile(graph, { scratch: true })).rejects.toThrow('unreadable');
  expect(scratchFolders()).toEqual([]);
});
