/** Ops on named dimensions, at several sizes of one compiled graph; and the guard of scattered additions. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/runtime/compile.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { broadcastTo, matmul, sum } from '../../src/graph/ops/contraction.ts';
import { add, mul } from '../../src/graph/ops/elementwise.ts';
import { max } from '../../src/graph/ops/reduce.ts';
import { dataOf, float32, int32, tensor, type Tensor } from '../../src/graph/tensor.ts';
import { gather, scatterAdd } from '../../src/graph/ops/indexing.ts';
import { concat, pad, reshape, transpose } from '../../src/graph/ops/layout.ts';

/** The numbers 0, 1, 2 … under a shape. */
function counting(...shape: number[]): Tensor<'float32'> {
  const count = shape.reduce((a, b) => a * b, 1);
  return float32(
    shape,
    Float32Array.from({ length: count }, (_, i) => i),
  );
}

async function run(build: (x: Value) => Value, x: Tensor): Promise<Tensor> {
  const graph = new Graph('named');
  graph.output('y', build(graph.input('x', 'float32', ['B', 'T', 4])));
  await using program = await compile(graph, { threads: 1 });
  // A first run at another size: nothing may depend on it.
  await program.run({ x: counting(3, 1, 4) }, ['y']);
  return (await program.run({ x }, ['y'])).y;
}

describe('reshape of named dimensions', () => {
  it.each<[string, (x: Value) => Value, number[]]>([
    ['splits a static axis', (x) => reshape(x, ['B', 'T', 2, 2]), [2, 5, 2, 2]],
    ['joins names', (x) => reshape(x, ['B*T', 4]), [10, 4]],
    ['joins a name and a size', (x) => reshape(x, ['B', 'T*4']), [2, 20]],
    ['joins all', (x) => reshape(x, ['B*T*4']), [40]],
    ['brings names back', (x) => reshape(reshape(x, ['B*T', 4]), ['B', 'T', 4]), [2, 5, 4]],
    ['adds an axis before', (x) => reshape(x, [1, 'B', 'T', 4]), [1, 2, 5, 4]],
    ['adds axes between', (x) => reshape(x, ['B', 1, 'T', 1, 4]), [2, 1, 5, 1, 4]],
    ['takes axes away', (x) => reshape(reshape(x, ['B', 1, 'T', 1, 4]), ['B', 'T', 4]), [2, 5, 4]],
    ['moves axes of size 1 past names', (x) => reshape(reshape(x, [1, 'B', 'T', 4]), ['B', 'T', 4, 1]), [2, 5, 4, 1]],
  ])('%s', async (_, build, shape) => {
    const x = counting(2, 5, 4);
    const y = await run(build, x);
    expect(y.shape).toEqual(shape);
    expect(y.data).toEqual(x.data);
  });

  it('keeps names whose size is 1 at run time', async () => {
    const y = await run((x) => reshape(reshape(x, ['B', 1, 'T', 4]), ['B', 'T', 4, 1]), counting(1, 1, 4));
    expect(y.shape).toEqual([1, 1, 4, 1]);
  });

  it('is refused when compiled where two names would have to be told apart', async () => {
    const graph = new Graph();
    graph.output('y', reshape(graph.input('x', 'float32', ['B*T', 4]), ['B', 'T', 4]));
    await expect(compile(graph)).rejects.toMatchObject({ code: 'SHAPE' });
  });
});

describe('other ops on named dimensions', () => {
  const x = counting(2, 3, 4);

  it('broadcast, join, pad and reduce', async () => {
    expect((await run((v) => broadcastTo(sum(v, [-1], true), ['B', 'T', 4]), x)).data).toEqual(
      Float32Array.from({ length: 24 }, (_, i) => [6, 22, 38, 54, 70, 86][Math.floor(i / 4)]),
    );
    expect((await run((v) => concat([v, mul(v, 2)], 1), x)).shape).toEqual([2, 6, 4]);
    const padded = await run((v) => pad(v, -2, 1, 2), x);
    expect(padded.shape).toEqual([2, 6, 4]);
    expect([...padded.data].slice(0, 8).map(Number)).toEqual([0, 0, 0, 0, 0, 1, 2, 3]);
    expect([...(await run((v) => max(v, [0, 1]), x)).data].map(Number)).toEqual([20, 21, 22, 23]);
  });

  it('multiply and transpose', async () => {
    const gram = await run((v) => matmul(v, v, { transposeB: true }), x);
    expect(gram.shape).toEqual([2, 3, 3]);
    expect(Number(gram.data[1])).toBe(0 * 4 + 1 * 5 + 2 * 6 + 3 * 7);
    const transposed = await run((v) => transpose(v, [1, 2, 0]), x);
    expect(transposed.shape).toEqual([3, 4, 2]);
    expect([...transposed.data].slice(0, 4).map(Number)).toEqual([0, 12, 1, 13]);
  });

  it('broadcast one named value over another', async () => {
    const graph = new Graph();
    const rows = graph.input('rows', 'float32', ['B', 1]);
    const columns = graph.input('columns', 'float32', ['T']);
    graph.output('y', add(rows, columns));
    await using program = await compile(graph, { threads: 1 });
    const { y } = await program.run({ rows: float32([2, 1], [10, 20]), columns: float32([3], [1, 2, 3]) }, ['y']);
    expect(y).toEqual(float32([2, 3], [11, 12, 13, 21, 22, 23]));
  });
});

describe('scatterAdd', () => {
  // ONNX Runtime's ScatterND loses updates when indices repeat and two threads work; this guards the op we use instead.
  it.each([
    ['all equal', 1],
    ['few', 7],
    ['many', 512],
  ])('adds every update on two threads: %s indices', async (_, distinct) => {
    const [count, width, rows] = [4096, 8, 512];
    const graph = new Graph();
    const updates = graph.input('updates', 'float32', [count, width]);
    const indices = graph.input('indices', 'int32', [count, width]);
    const empty = graph.constant(float32([rows, width], new Float32Array(rows * width)));
    graph.output('y', scatterAdd(empty, indices, updates, 0));
    await using program = await compile(graph, { threads: 2 });
    const at = Int32Array.from({ length: count * width }, (_, i) => (Math.floor(i / width) * 31) % distinct);
    // Multiples of 1/8 of at most 2⁵: sums are exact in float32 whatever their order.
    const values = Float32Array.from({ length: count * width }, (_, i) => ((i * 37) % 255) / 8);
    const expected = new Float64Array(rows * width);
    at.forEach((row, i) => {
      expected[row * width + (i % width)] += values[i];
    });
    for (let attempt = 0; attempt < 5; attempt++) {
      const feeds = {
        updates: tensor('float32', [count, width], values),
        indices: tensor('int32', [count, width], at),
      };
      expect(Float64Array.from(dataOf((await program.run(feeds, ['y'])).y, 'float32'))).toEqual(expected);
    }
  });

  it('along the last axis adds to what is there', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2, 3]);
    const indices = graph.constant(int32([2, 2], [2, 2, 0, 1]));
    graph.output('y', scatterAdd(x, indices, graph.constant(float32([2, 2], [5, 6, 7, 8])), -1));
    await using program = await compile(graph);
    const { y } = await program.run({ x: float32([2, 3], [1, 1, 1, 2, 2, 2]) }, ['y']);
    expect(y).toEqual(float32([2, 3], [1, 1, 12, 9, 10, 2]));
  });
});

describe('gather', () => {
  it('takes rows, and fails on an index outside', async () => {
    const graph = new Graph();
    const table = graph.weight('table', counting(3, 2));
    graph.output('y', gather(table, graph.input('ids', 'int32', ['T'])));
    await using program = await compile(graph);
    expect((await program.run({ ids: int32([3], [2, 0, 2]) }, ['y'])).y).toEqual(float32([3, 2], [4, 5, 0, 1, 4, 5]));
    await expect(program.run({ ids: int32([1], [3]) }, ['y'])).rejects.toMatchObject({ code: 'RUNTIME' });
  });
});
