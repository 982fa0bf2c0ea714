import { describe, expect, it } from 'vitest';
import { defineOp, Graph, liveNodes, type Value } from './graph.ts';
import { broadcastTo, sum } from './ops/contraction.ts';
import { add, addAll, cast, div, erf, exp, log, mul, neg, sin, sqrt, sub } from './ops/elementwise.ts';
import { float32, type Tensor } from './tensor.ts';
import { concat, pad, reshape, slice, split, transpose } from './ops/layout.ts';

const row = float32([3], [2, 4, 8]);

/** Nodes that a value depends on. */
const nodesOf = (value: Value): string[] => liveNodes([value]).map(({ op }) => op);

describe('constant folding', () => {
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
    ['transposes that undo each other', () => transpose(transpose(x, [1, 0]), [1, 0]), x],
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
