import { describe, expect, it } from 'vitest';
import type { ValueType } from '../graph/graph.ts';
import { float32, int32, type Tensor, zeros } from '../graph/tensor.ts';
import { feedCheck, type InputSignature } from './program.ts';

const signature: InputSignature = {
  graph: 'step',
  live: new Map<string, ValueType>([
    ['ids', { dtype: 'int32', shape: ['B', 'T'] }],
    ['rows', { dtype: 'float32', shape: ['B', 'R', 4] }],
    ['mask', { dtype: 'float32', shape: ['B', 'T', 'R+T'] }],
  ]),
  unused: new Set(['positions']),
};

function feeds(changes: Record<string, Tensor | undefined> = {}): Record<string, Tensor> {
  const all = {
    ids: int32([2, 3], [1, 2, 3, 4, 5, 6]),
    rows: zeros('float32', [2, 5, 4]),
    mask: zeros('float32', [2, 3, 8]),
    ...changes,
  };
  const given: Record<string, Tensor> = {};
  for (const [name, tensor] of Object.entries(all)) if (tensor !== undefined) given[name] = tensor;
  return given;
}

describe('feeds', () => {
  it('passes what fits, without copies, and drops what no output needs', () => {
    const given = feeds({ positions: int32([1], [0]) });
    const checked = feedCheck(signature)(given);
    expect(Object.keys(checked)).toEqual(['ids', 'rows', 'mask']);
    expect(checked.mask).toBe(given.mask);
  });

  it.each([
    ['missing', { mask: undefined }, 'graph "step" needs input "mask" (float32[B,T,R+T])'],
    [
      'unknown',
      { labels: int32([1], [0]) },
      'graph "step" has no input "labels"; its inputs are "ids", "rows", "mask"',
    ],
    ['an inherited name', { toString: int32([1], [0]) }, 'has no input "toString"'],
    [
      'of another dtype',
      { ids: float32([2, 3], [1, 2, 3, 4, 5, 6]) },
      'input "ids" of graph "step" is float32[2,3], expected int32[B,T]',
    ],
    ['of another rank', { ids: int32([2], [1, 2]) }, 'input "ids" of graph "step" is int32[2], expected int32[B,T]'],
    [
      'of another size',
      { rows: zeros('float32', [2, 5, 3]) },
      'input "rows" of graph "step" is float32[2,5,3], expected float32[B,R,4]',
    ],
    [
      'with too little data',
      { ids: { dtype: 'int32', shape: [2, 3], data: new Int32Array(5) } as const },
      'is int32[2,3], expected int32[B,T], and its data has 5 elements',
    ],
    [
      'in disagreement about a name',
      { rows: zeros('float32', [1, 5, 4]) },
      'is float32[1,5,4], expected float32[B,R,4]: "B" is 2 in input "ids"',
    ],
    [
      'in disagreement about a sum',
      { mask: zeros('float32', [2, 3, 9]) },
      'input "mask" of graph "step" has 9 along "R+T", which is 8 by the other inputs',
    ],
  ])('refuses a feed %s', (_, changes, message) => {
    expect(() => feedCheck(signature)(feeds(changes))).toThrow(message);
    expect(() => feedCheck(signature)(feeds(changes))).toThrow(expect.objectContaining({ code: 'RUNTIME' }));
  });

  it('says so when a graph has no inputs', () => {
    const none: InputSignature = { graph: 'constant', live: new Map(), unused: new Set() };
    expect(feedCheck(none)({})).toEqual({});
    expect(() => feedCheck(none)({ x: int32([1], [0]) })).toThrow('has no input "x"; its inputs are none');
  });
});
