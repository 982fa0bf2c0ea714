/** Every op family refuses operands that do not fit, when the graph is built, naming the op and what it was given. */
import { describe, expect, it } from 'vitest';
import { broadcastTo, matmul, sum } from './contraction.ts';
import {
  abs,
  add,
  cos,
  div,
  equal,
  erf,
  exp,
  greater,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  relu,
  sigmoid,
  sqrt,
  sub,
  tanh,
  where,
} from './elementwise.ts';
import { crossEntropy, layerNorm, rmsNorm, unitLength } from './normalization.ts';
import { max, mean, sumSquare } from './reduce.ts';
import { type DType, type Shape, int32 } from '../tensor.ts';
import { Graph, type Value } from '../graph.ts';
import { gather, gatherElements, scatterAdd } from './indexing.ts';
import { concat, pad, reshape, slice, split, transpose } from './layout.ts';
import { inverse } from './inverse.ts';
import { maskedReluSquared } from './activations.ts';
import { rotary } from './rotary.ts';
import { cumulativeSum } from './recurrence.ts';

const graph = new Graph();
let inputs = 0;
const given = (shape: Shape, dtype: DType = 'float32'): Value => graph.input(`x${inputs++}`, dtype, shape);

const square = given([3, 3]);
const wide = given([2, 3, 4]);
const named = given(['B', 'T', 4]);
const heads = given(['B', 'T', 2, 6]);
const ids = given([2], 'int32');
const truth = given([2, 3], 'bool');

type Case = [title: string, build: () => unknown, message: string];

const binary = { add, sub, mul, div, minimum, maximum, equal, less, greater };
const unary = { neg, abs, exp, log, sqrt, cos, tanh, erf, sigmoid, relu };

const cases: Case[] = [
  ...Object.entries(binary).flatMap(([name, op]): Case[] => [
    [`${name} of shapes`, () => op(square, wide), `${name}: shapes [3,3] and [2,3,4] do not broadcast: 3 against 4`],
    [`${name} of names`, () => op(named, given(['B', 'R', 4])), `${name}: shapes [B,T,4] and [B,R,4] do not broadcast`],
    [`${name} of types`, () => op(square, ids), `${name}: operands are float32[3,3] and int32[2]`],
  ]),
  ...Object.entries(unary).map(
    ([name, op]): Case => [`${name} of integers`, () => op(ids), `${name}: needs a floating-point value, got int32[2]`],
  ),
  ['where of numbers', () => where(square, square, square), 'where: the condition must be bool, got float32[3,3]'],
  ['where of types', () => where(truth, square, ids), 'where: the choices are float32[3,3] and int32[2]'],
  ['where of shapes', () => where(truth, square, square), 'where: shapes [2,3] and [3,3] do not broadcast'],
  [
    'matmul',
    () => matmul(square, given([2, 4])),
    'matmul: float32[3,3] times float32[2,4]: inner dimensions 3 and 2 differ',
  ],
  [
    'matmul transposed',
    () => matmul(wide, wide, { transposeA: true, transposeB: true }),
    'float32[2,3,4] transposed times float32[2,3,4] transposed: inner dimensions 3 and 4',
  ],
  ['matmul of batches', () => matmul(wide, given([3, 4, 2])), 'matmul: shapes [2] and [3] do not broadcast'],
  ['matmul of vectors', () => matmul(square, given([3])), 'both need at least two dimensions'],
  ['matmul of types', () => matmul(square, given([3, 3], 'int32')), 'dtypes must be equal'],
  ['matmul of names', () => matmul(given([2, 'T']), given(['R', 2])), 'inner dimensions T and R differ'],
  ['sum', () => sum(wide, [3]), 'sum: axis 3 is outside a value of rank 3'],
  ['max', () => max(wide, [-4]), 'max: axis -4 is outside a value of rank 3'],
  ['sumSquare', () => sumSquare(wide, [0.5]), 'sumSquare: axis 0.5'],
  ['mean', () => mean(wide, [5]), 'mean: axis 5'],
  ['mean over names', () => mean(named, [1]), 'mean: axes 1 of float32[B,T,4] are not of static size'],
  ['broadcastTo', () => broadcastTo(wide, [2, 3, 5]), 'broadcastTo: shapes [2,3,4] and [2,3,5] do not broadcast'],
  [
    'broadcastTo fewer',
    () => broadcastTo(wide, [1, 3, 4]),
    'broadcastTo: float32[2,3,4] does not broadcast to [1,3,4]',
  ],
  ['reshape', () => reshape(wide, [5, 5]), 'reshape: float32[2,3,4] cannot become [5,5]'],
  ['reshape of names', () => reshape(named, ['B', 4]), 'reshape: float32[B,T,4] cannot become [B,4]'],
  ['transpose', () => transpose(wide, [0, 1]), 'transpose: [0,1] is not a permutation of the axes of float32[2,3,4]'],
  ['transpose twice the same', () => transpose(wide, [0, 1, 1]), 'transpose: [0,1,1]'],
  ['concat', () => concat([wide, square], 0), 'concat: float32[3,3] does not continue float32[2,3,4] along axis 0'],
  ['concat of types', () => concat([given([2]), ids], 0), 'concat: int32[2] does not continue float32[2]'],
  ['concat of nothing', () => concat([], 0), 'concat: needs at least one value'],
  ['concat axis', () => concat([wide], 3), 'concat: axis 3'],
  ['split', () => split(wide, 2, [1, 2]), 'split: sizes 1 + 2 do not add up to axis 2 of float32[2,3,4]'],
  ['split of names', () => split(named, 1, [1, 2]), 'split: sizes 1 + 2 do not add up to axis 1 of float32[B,T,4]'],
  ['slice', () => slice(wide, 1, 2, 4), 'slice: range 2…4 is outside axis 1 of float32[2,3,4]'],
  ['slice backwards', () => slice(wide, 1, 2, 1), 'slice: range 2…1'],
  ['slice of names', () => slice(named, 0, 0, 1), 'slice: range 0…1 is outside axis 0 of float32[B,T,4]'],
  ['slice beyond', () => slice(wide, 1, 4), 'slice: range 4… is outside axis 1 of float32[2,3,4]'],
  [
    'slice of a sum of names',
    () => slice(pad(named, 1, 0, 3), 1, 4),
    'slice: range 4… is outside axis 1 of float32[B,T+3,4]',
  ],
  ['pad', () => pad(wide, 0, -1, 0), 'pad: cannot pad float32[2,3,4] by -1 and 0'],
  ['gather', () => gather(wide, square), 'gather: indices must be int32 or int64, got float32[3,3]'],
  ['gather axis', () => gather(wide, ids, 3), 'gather: axis 3'],
  [
    'gatherElements',
    () => gatherElements(wide, ids, 0),
    'gatherElements: indices int32[2] do not fit float32[2,3,4] along axis 0',
  ],
  [
    'scatterAdd',
    () => scatterAdd(square, given([3, 2], 'int32'), given([3, 1]), 1),
    'scatterAdd: indices int32[3,2], updates float32[3,1]',
  ],
  [
    'rmsNorm',
    () => rmsNorm(wide, given([3]), 1e-6),
    'rmsNorm: float32[2,3,4] needs a gain of shape [4], got float32[3]',
  ],
  [
    'layerNorm',
    () => layerNorm(wide, given([4]), given([3]), 1e-6),
    'layerNorm: float32[2,3,4] needs a gain of shape [4], got float32[3]',
  ],
  [
    'unitLength',
    () => unitLength(given([2, 'T'])),
    'unitLength: the last axis of float32[2,T] must have a static size',
  ],
  ['rotary', () => rotary(wide, wide, wide), 'rotary: needs [B,T,H,D] with even D, got float32[2,3,4]'],
  ['rotary of odd width', () => rotary(given([1, 2, 2, 5]), wide, wide), 'got float32[1,2,2,5]'],
  [
    'rotary tables',
    () => rotary(heads, given(['B', 'T', 2]), given(['B', 'T', 3])),
    'rotary: float32[B,T,2,6] needs cos and sin of shape [B,T,3]',
  ],
  ['inverse', () => inverse(wide), 'inverse: needs square float32 matrices, got float32[2,3,4]'],
  ['cumulativeSum', () => cumulativeSum(wide, -4), 'cumulativeSum: axis -4'],
  [
    'maskedReluSquared',
    () => maskedReluSquared(square, given([2, 1])),
    'maskedReluSquared: shapes [3,3] and [2,1] do not broadcast',
  ],
  [
    'maskedReluSquared larger',
    () => maskedReluSquared(square, given([2, 3, 3])),
    'maskedReluSquared: mask float32[2,3,3] does not broadcast to float32[3,3]',
  ],
  [
    'crossEntropy',
    () => crossEntropy(square, given([2], 'int32')),
    'crossEntropy: logits float32[3,3] need int32 labels of shape [3], got int32[2]',
  ],
  ['crossEntropy of types', () => crossEntropy(square, given([3])), 'got float32[3]'],
];

describe('shape errors', () => {
  it.each(cases)('%s', (_, build, message) => {
    expect(build).toThrow(expect.objectContaining({ code: 'SHAPE' }));
    expect(build).toThrow(message);
  });
});

describe('shapes', () => {
  it.each<[string, () => Value, string]>([
    ['add broadcasts names', () => add(named, given(['T', 1])), 'float32[B,T,4]'],
    ['comparison', () => greater(wide, given([4])), 'bool[2,3,4]'],
    ['matmul keeps names', () => matmul(named, given([4, 5])), 'float32[B,T,5]'],
    ['matmul transposed', () => matmul(wide, wide, { transposeB: true }), 'float32[2,3,3]'],
    ['sum from the back', () => sum(wide, [-1]), 'float32[2,3]'],
    ['sum keeps axes', () => sum(named, [-2], true), 'float32[B,1,4]'],
    ['sum over all', () => sum(wide), 'float32[]'],
    ['sum of doubled axes', () => sum(wide, [0, -3]), 'float32[3,4]'],
    ['reshape joins names', () => reshape(named, ['B*T', 4]), 'float32[B*T,4]'],
    ['concat adds names', () => concat([named, given(['B', 'R', 4])], -2), 'float32[B,R+T,4]'],
    ['pad adds to names', () => pad(named, 1, 1, 2), 'float32[B,T+3,4]'],
    ['slice', () => slice(wide, -1, 1, 3), 'float32[2,3,2]'],
    ['slice of names', () => slice(pad(named, 1, 0, 3), 1, 1, 3), 'float32[B,2,4]'],
    ['the rest of names', () => slice(pad(named, 1, 0, 3), 1, 1), 'float32[B,T+2,4]'],
    ['names after the rest', () => slice(pad(named, 1, 0, 3), 1, 3), 'float32[B,T,4]'],
    ['gather in the middle', () => gather(wide, given([5, 6], 'int32'), 1), 'float32[2,5,6,4]'],
    ['gatherElements', () => gatherElements(square, given([3, 7], 'int32'), -1), 'float32[3,7]'],
    ['transpose', () => transpose(named, [2, 0, 1]), 'float32[4,B,T]'],
    ['crossEntropy', () => crossEntropy(named, given(['B', 'T'], 'int32')), 'float32[B,T]'],
    ['integers add', () => add(ids, graph.constant(int32([], [1]))), 'int32[2]'],
  ])('%s', (_, build, expected) => {
    expect(String(build())).toBe(expected);
  });
});
