/** Reverse mode: contributions over fan-out and broadcasting add up, values nothing depends on get zeros, and what is refused. */
import { describe, expect, it } from 'vitest';
import { LinnetError } from '../../src/errors.ts';
import { compile } from '../../src/runtime/compile.ts';
import { gradients, vectorJacobian } from '../../src/graph/gradients.ts';
import { Graph, liveNodes, type Value } from '../../src/graph/graph.ts';
import { matmul, sum } from '../../src/graph/ops/contraction.ts';
import { add, cast, exp, greater, mul, relu, sub, where } from '../../src/graph/ops/elementwise.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { gather } from '../../src/graph/ops/indexing.ts';
import { concat, reshape, split } from '../../src/graph/ops/layout.ts';

async function evaluate(graph: Graph, values: readonly Value[], feeds: Record<string, Tensor>): Promise<number[][]> {
  const names = values.map((_, i) => `y${i}`);
  values.forEach((value, i) => {
    graph.output(names[i], value);
  });
  await using program = await compile(graph, { threads: 1 });
  const live = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
  const results = await program.run(live, names);
  return names.map((name) => Array.from(results[name].data, Number));
}

describe('gradients', () => {
  it('add up over all uses of a value', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [3]);
    // x² + 3x + x·(sum of x): uses at different depths, and one twice by the same node.
    const y = add(add(mul(x, x), mul(x, 3)), mul(x, sum(x)));
    const [dx] = gradients(sum(y), [x]);
    const [values] = await evaluate(graph, [dx], { x: float32([3], [1, -2, 4]) });
    // 2x + 3 + 2·Σx
    expect(values).toEqual([1, -2, 4].map((at) => 2 * at + 3 + 2 * 3));
  });

  it('add up over the axes that were broadcast', async () => {
    const graph = new Graph();
    const a = graph.input('a', 'float32', [2, 1]);
    const b = graph.input('b', 'float32', [3]);
    const c = graph.input('c', 'float32', []);
    const found = gradients(sum(mul(mul(a, b), c)), [a, b, c]);
    expect(found.map(({ shape }) => shape)).toEqual([[2, 1], [3], []]);
    const feeds = { a: float32([2, 1], [1, 2]), b: float32([3], [3, 4, 5]), c: float32([], [10]) };
    expect(await evaluate(graph, found, feeds)).toEqual([[120, 120], [30, 30, 30], [36]]);
  });

  it('reach intermediate values, weights, and one of several outputs', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [4]);
    const w = graph.weight('w', float32([4], [1, 2, 3, 4]));
    const product = mul(x, w);
    const [, last] = split(product, 0, [3, 1]);
    const found = gradients(sum(mul(last, last)), [product, w, x]);
    const feeds = { x: float32([4], [1, 1, 1, 5]) };
    expect(await evaluate(graph, found, feeds)).toEqual([
      [0, 0, 0, 40],
      [0, 0, 0, 200],
      [0, 0, 0, 160],
    ]);
  });

  it('are zeros where the loss does not depend on a value, and 1 for the loss itself', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const unrelated = graph.input('u', 'float32', [2, 2]);
    const loss = sum(x);
    const found = gradients(loss, [unrelated, loss]);
    expect(await evaluate(graph, found, {})).toEqual([[0, 0, 0, 0], [1]]);
  });

  it('take a loss of shape [1,1]', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [1, 3]);
    const [dx] = gradients(matmul(x, x, { transposeB: true }), [x]);
    expect(await evaluate(graph, [dx], { x: float32([1, 3], [1, 2, 3]) })).toEqual([[2, 4, 6]]);
  });

  it('compute only what lies between the loss and the values', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2, 2]);
    const w = graph.input('w', 'float32', [2, 2]);
    const [dw] = gradients(sum(matmul(exp(x), w)), [w]);
    // exp needs no gradient: x is not asked for.
    expect(liveNodes([dw]).filter(({ op }) => op === 'exp')).toHaveLength(1);
    expect(liveNodes([dw]).filter(({ op }) => op === 'matmul')).toHaveLength(1);
  });

  it('of gradients are second derivatives', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const [first] = gradients(sum(mul(mul(x, x), x)), [x]);
    const [second] = gradients(sum(first), [x]);
    expect(await evaluate(graph, [first, second], { x: float32([2], [2, 3]) })).toEqual([
      [12, 27],
      [12, 18],
    ]);
  });

  it('do not pass conditions', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const masked = mul(x, cast(greater(x, 0), 'float32'));
    const chosen = where(greater(x, 1), x, mul(x, 2));
    const found = gradients(sum(add(masked, chosen)), [x]);
    expect(await evaluate(graph, found, { x: float32([2], [-1, 3]) })).toEqual([[2, 2]]);
  });

  it('are products with what comes from outside', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const y = relu(sub(x, 1));
    const upstream = graph.input('dy', 'float32', [2]);
    const [dx] = vectorJacobian([y, x], [upstream, upstream], [x]);
    const feeds = { x: float32([2], [0, 2]), dy: float32([2], [5, 7]) };
    expect(await evaluate(graph, [dx], feeds)).toEqual([[5, 14]]);
  });
});

describe('gradients refuse', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [2, 3]);
  const named = graph.input('t', 'float32', ['T']);
  const ids = graph.constant(int32([2], [0, 1]));
  const count = graph.input('count', 'int32', []);

  it.each<[string, () => unknown, string, string]>([
    ['a loss that is not a scalar', () => gradients(x, [x]), 'GRAPH', 'got float32[2,3]'],
    ['a loss of unknown size', () => gradients(named, [named]), 'GRAPH', 'got float32[T]'],
    ['a loss of integers', () => gradients(count, [x]), 'GRAPH', 'got int32[]'],
    [
      'a gather along another axis',
      () => gradients(sum(gather(x, ids, 1)), [x]),
      'SHAPE',
      'gather: the gradient needs axis 0',
    ],
    [
      'a concat of unknown parts',
      () => gradients(sum(concat([named, named], 0)), [named]),
      'SHAPE',
      'concat: axis 0 of float32[T]',
    ],
    [
      'an upstream of another shape',
      () => vectorJacobian([reshape(x, [6])], [x], [x]),
      'INTERNAL',
      'a gradient of float32[6] has type float32[2,3]',
    ],
  ])('%s', (_, act, code, message) => {
    expect(act).toThrow(expect.objectContaining({ code }));
    expect(act).toThrow(message);
  });

  it('zeros of unknown shape', () => {
    expect(() => gradients(sum(x), [named])).toThrow(LinnetError);
    expect(() => gradients(sum(x), [named])).toThrow('float32[T]');
  });

  it('ops that have no gradient, by name and reason', () => {
    const truth = greater(x, 0);
    expect(() => vectorJacobian([truth], [truth], [x])).toThrow('greater has no gradient: its result is a truth value');
  });
});
