import { describe, expect, it } from 'vitest';
import { compile } from '../runtime/compile.ts';
import { defineOp, Graph, liveNodes, type Value } from './graph.ts';
import { cast } from './ops/compare.ts';
import { add, addAll, div, maximum, minimum, mul, sub } from './ops/elementwise.ts';
import { concat, pad, reshape, slice, split, transpose } from './ops/layout.ts';
import { broadcastTo, sum } from './ops/reduce.ts';
import { abs, acos, cos, elu, erf, exp, log, neg, reciprocal, relu, sigmoid, sin, sqrt, tanh } from './ops/unary.ts';
import { dataOf, float32, int32, type Tensor, tensor } from './tensor.ts';

const matrix = float32([2, 3], [0.5, 0.25, 0.75, 0.125, 0.875, 0.625]);
const row = float32([3], [2, 4, 8]);
const column = float32([2, 1], [3, 5]);

/** Nodes that a value depends on. */
const nodesOf = (value: Value): string[] => liveNodes([value]).map(({ op }) => op);

describe('constant folding', () => {
  type Build = (a: Value, b: Value, c: Value) => Value;
  const folded: Record<string, Build> = {
    add: (a, b) => add(a, b),
    sub: (a, _, c) => sub(c, a),
    mul: (_, b, c) => mul(b, c),
    div: (a, b) => div(a, b),
    minimum: (a, _, c) => minimum(a, mul(c, 0.125)),
    maximum: (a, _, c) => maximum(a, mul(c, 0.125)),
    'reshape and transpose': (a, b) => mul(transpose(reshape(a, [3, 2]), [1, 0]), b),
    'transpose of rank 3': (a) => transpose(reshape(a, [1, 2, 3]), [2, 0, 1]),
    'cast of integers': (a) => add(a, cast(a.graph.constant(int32([2, 1], [7, -9])), 'float32')),
    'cast of truth values': (a) =>
      add(a, cast(a.graph.constant(tensor('bool', [3], Uint8Array.of(1, 0, 1))), 'float32')),
  };
  for (const [name, op] of Object.entries({ neg, abs, exp, log, sqrt, reciprocal, sin, cos, acos, tanh, sigmoid })) {
    folded[name] = (a) => op(a);
  }
  folded.relu = (a, b) => relu(sub(mul(b, 0.2), a));
  folded.elu = (a, b) => elu(sub(mul(a, 3), b));

  it.each(Object.entries(folded))('%s gives what the runtime gives', async (_, build) => {
    const constants = new Graph('constants');
    const value = build(constants.constant(matrix), constants.constant(row), constants.constant(column));
    expect(value.constant, 'not folded').toBeDefined();
    expect(nodesOf(value)).toEqual([]);

    const graph = new Graph('inputs');
    const inputs = [matrix, row, column].map((input, i) => graph.input(`x${i}`, 'float32', input.shape));
    const computed = build(inputs[0], inputs[1], inputs[2]);
    expect(nodesOf(computed)).not.toEqual([]);
    graph.output('y', computed);
    await using program = await compile(graph, { threads: 1 });
    const feeds: Record<string, Tensor> = {};
    for (const [i, input] of [matrix, row, column].entries()) if (program.inputs.has(`x${i}`)) feeds[`x${i}`] = input;
    const { y } = await program.run(feeds, ['y']);
    expect(value.shape).toEqual(y.shape);
    const expected = dataOf(y, 'float32');
    dataOf(value.constant ?? y, 'float32').forEach((x, i) => {
      expect(Math.abs(x - expected[i])).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(expected[i])));
    });
  });

  it('goes through whole expressions, and stops at inputs and weights', () => {
    const graph = new Graph();
    const constant = graph.constant(row);
    const expression = mul(add(constant, 1), sub(constant, 2));
    expect([...(expression.constant?.data ?? [])]).toEqual([0, 10, 54]);
    expect(nodesOf(add(graph.weight('w', row), constant))).toEqual(['add']);
    expect(nodesOf(mul(graph.input('x', 'float32', [3]), expression))).toEqual(['mul']);
    expect(nodesOf(erf(constant))).toEqual(['erf']); // has no host function: left to the runtime
  });

  it('leaves large constants to the runtime', () => {
    const graph = new Graph();
    const size = (1 << 20) + 1;
    expect(nodesOf(neg(graph.constant(float32([size], new Float32Array(size)))))).toEqual(['neg']);
  });
});

describe('simplification', () => {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['T', 3]);
  const s = graph.input('s', 'float32', [2, 3]);
  const ones = graph.constant(float32([1, 3], [1, 1, 1]));
  const scalarInput = graph.input('scalar', 'float32', []);

  it.each<[string, () => Value, Value]>([
    ['x + 0', () => add(x, 0), x],
    ['0 + x', () => add(0, x), x],
    ['x − 0', () => sub(x, 0), x],
    ['x · 1', () => mul(x, 1), x],
    ['ones · x', () => mul(ones, x), x],
    ['x / 1', () => div(x, 1), x],
    ['cast to its own type', () => cast(x, 'float32'), x],
    ['reshape to its own shape', () => reshape(x, ['T', 3]), x],
    ['reshape there and back', () => reshape(reshape(s, [6]), [2, 3]), s],
    ['transpose by nothing', () => transpose(x, [0, 1]), x],
    ['concat of one', () => concat([x], 0), x],
    ['split into one', () => split(x, 1, [3])[0], x],
    ['slice of all', () => slice(x, 1, 0, 3), x],
    ['pad by nothing', () => pad(x, 0, 0, 0), x],
    ['broadcast to its own shape', () => broadcastTo(x, ['T', 3]), x],
    ['sum over no axes', () => sum(x, []), x],
  ])('%s is x itself', (_, build, expected) => {
    expect(build()).toBe(expected);
  });

  it.each<[string, () => Value, string]>([
    ['0 − x', () => sub(0, x), 'sub'],
    ['1 / x', () => div(1, x), 'div'],
    ['x · 2', () => mul(x, 2), 'mul'],
    ['a scalar times ones, which broadcasts', () => mul(scalarInput, ones), 'mul'],
  ])('%s is not', (_, build, op) => {
    expect(nodesOf(build())).toEqual([op]);
  });

  it('makes one reshape of two', () => {
    expect(nodesOf(reshape(reshape(s, [6]), [3, 2]))).toEqual(['reshape']);
  });

  it('still checks types', () => {
    expect(() => add(x, graph.constant(float32([2], [0, 0])))).toThrow('add: ');
    expect(() => add(graph.input('i', 'int32', [3]), 0)).toThrow('add: operands are int32[3] and float32[]');
  });
});

describe('equal nodes', () => {
  it('are made once, per inputs and attributes', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2, 3]);
    const y = graph.input('y', 'float32', [2, 3]);
    expect(add(x, y)).toBe(add(x, y));
    expect(add(x, y)).not.toBe(add(y, x));
    expect(sum(x, [0])).toBe(sum(x, [-2]));
    expect(sum(x, [0])).not.toBe(sum(x, [1]));
    expect(sum(x, [0])).not.toBe(sum(x, [0], true));
    expect(mul(x, 2)).toBe(mul(x, 2));
    expect(mul(x, 0)).not.toBe(mul(x, -0));
    expect(split(x, 1, [1, 2])).toBe(split(x, -1, [1, 2]));
  });

  it('share constants that are asked for by key', () => {
    const graph = new Graph();
    const make = (): Tensor => float32([1], [4]);
    expect(graph.sharedConstant('mask', make)).toBe(graph.sharedConstant('mask', make));
    expect(graph.sharedConstant('mask', make)).not.toBe(graph.sharedConstant('other', make));
    expect(graph.scalar(2)).toBe(graph.scalar(2));
  });
});

describe('a graph', () => {
  it('refuses names twice and values of other graphs', () => {
    const graph = new Graph();
    const other = new Graph();
    const x = graph.input('x', 'float32', [2]);
    graph.output('y', x);
    expect(() => graph.input('x', 'float32', [2])).toThrow('already has an input or weight "x"');
    expect(() => graph.weight('x', row)).toThrow('already has an input or weight "x"');
    expect(() => graph.output('y', x)).toThrow('already has an output "y"');
    const foreign = other.input('x', 'float32', [2]);
    expect(() => graph.output('z', foreign)).toThrow('of another graph');
    expect(() => add(x, foreign)).toThrow('add: an input is a value of another graph');
    expect(() => add(1, 2)).toThrow('add: at least one operand must be a value');
  });

  it('describes its values', () => {
    const graph = new Graph();
    expect(String(graph.input('x', 'int32', ['B', 'T', 4]))).toBe('int32[B,T,4]');
  });

  it('lists live nodes with inputs before users, dead ones left out', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const shared = exp(x);
    mul(shared, 3); // dead
    const y = addAll([shared, sqrt(shared), log(sqrt(shared))]);
    const order = liveNodes([y]);
    expect(order.map(({ op }) => op).sort()).toEqual(['add', 'add', 'exp', 'log', 'sqrt']);
    const place = new Map(order.map((node, index) => [node, index]));
    for (const node of order) {
      for (const { origin } of node.inputs) {
        if (origin.kind === 'result') expect(place.get(origin.node)).toBeLessThan(place.get(node) ?? -1);
      }
    }
  });

  it('may be as deep as memory allows', () => {
    const graph = new Graph();
    let value = graph.input('x', 'float32', []);
    for (let i = 0; i < 20_000; i++) value = sin(value);
    expect(liveNodes([value])).toHaveLength(20_000);
  });

  it('refuses to apply an op to nothing', () => {
    const op = defineOp({
      name: 'nothing',
      infer: () => [],
      lower: () => undefined,
      gradient: { notDifferentiable: 'test' },
    });
    expect(() => op.apply([], {})).toThrow('internal: nothing was applied to no values');
  });
});
