/** Constant folding on the host gives what the runtime gives. */
import { describe, expect, it } from 'vitest';
import { Graph, liveNodes, type Value } from '../../src/graph/graph.ts';
import {
  abs,
  acos,
  add,
  cast,
  cos,
  div,
  elu,
  exp,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  sigmoid,
  sin,
  sqrt,
  sub,
  tanh,
} from '../../src/graph/ops/elementwise.ts';
import { dataOf, float32, int32, tensor, type Tensor } from '../../src/graph/tensor.ts';
import { reshape, transpose } from '../../src/graph/ops/layout.ts';
import { compile } from '../../src/runtime/compile.ts';

const matrix = float32([2, 3], [0.5, 0.25, 0.75, 0.125, 0.875, 0.625]);
const row = float32([3], [2, 4, 8]);
const column = float32([2, 1], [3, 5]);

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
    expect(liveNodes([value])).toEqual([]);

    const graph = new Graph('inputs');
    const inputs = [matrix, row, column].map((input, i) => graph.input(`x${i}`, 'float32', input.shape));
    const computed = build(inputs[0], inputs[1], inputs[2]);
    expect(liveNodes([computed])).not.toEqual([]);
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
});
