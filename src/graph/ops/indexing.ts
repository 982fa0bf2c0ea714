/** Reads and adds by index: gather (embedding), gatherElements, scatterAdd; the largest values and their indices. */
import { defineOp, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import {
  type Dim,
  formatShape,
  int64,
  multiplyDims,
  normalizeAxis,
  sameShape,
  shapeError,
  staticShape,
} from '../tensor.ts';

import { broadcastTo } from './contraction.ts';
import { axisAttribute, reshape, zerosLike } from './layout.ts';

function requireIndices(op: string, indices: Value): void {
  if (indices.dtype !== 'int32' && indices.dtype !== 'int64') {
    throw shapeError(op, `indices must be int32 or int64, got ${indices}`);
  }
}

export const gatherOp = defineOp<{ readonly axis: number }>({
  name: 'gather',
  infer([x, indices], { axis }) {
    requireIndices('gather', indices);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
  },
  lower: directly('Gather', axisAttribute),
  gradient(node, dy, { axis }) {
    const [x, indices] = node.inputs;
    const sizes = staticShape(x.shape);
    if (axis !== 0 || sizes === undefined) {
      throw shapeError('gather', `the gradient needs axis 0 and a static shape, got axis ${axis} of ${x}`);
    }
    // Adds dy's rows to the rows they came from, in any order: indices may repeat.
    const count = multiplyDims(...indices.shape);
    const inner = sizes.slice(1);
    const rows = reshape(indices, [count, ...inner.map((): Dim => 1)]);
    return [scatterAdd(zerosLike(x), broadcastTo(rows, [count, ...inner]), reshape(dy, [count, ...inner]), 0)];
  },
});

/**
 * Slices of x by index: x [..., N, ...] and indices of any shape give [..., ...indices.shape, ...].
 * With axis 0 and a weight [V, D] this is an embedding. The runtime fails on indices outside [−N, N).
 */
export function gather(x: Value, indices: Value, axis = 0): Value {
  return gatherOp.first([x, indices], { axis: normalizeAxis('gather', axis, x.rank) });
}

export const gatherElementsOp = defineOp<{ readonly axis: number }>({
  name: 'gatherElements',
  infer([x, indices], { axis }) {
    requireIndices('gatherElements', indices);
    const fits = indices.rank === x.rank && x.shape.every((dim, i) => i === axis || dim === indices.shape[i]);
    if (!fits) throw shapeError('gatherElements', `indices ${indices} do not fit ${x} along axis ${axis}`);
    return [{ dtype: x.dtype, shape: indices.shape }];
  },
  lower: directly('GatherElements', axisAttribute),
  gradient(node, dy, { axis }) {
    const [x, indices] = node.inputs;
    return [scatterAdd(zerosLike(x), indices, dy, axis)];
  },
});

/** y[i, j] = x[i, indices[i, j]] along the last axis, and likewise along others. Indices have x's rank. */
export function gatherElements(x: Value, indices: Value, axis: number): Value {
  return gatherElementsOp.first([x, indices], { axis: normalizeAxis('gatherElements', axis, x.rank) });
}

export const scatterAddOp = defineOp<{ readonly axis: number }>({
  name: 'scatterAdd',
  infer([x, indices, updates]) {
    requireIndices('scatterAdd', indices);
    if (!sameShape(indices.shape, updates.shape) || indices.rank !== x.rank) {
      throw shapeError(
        'scatterAdd',
        `indices ${indices}, updates ${updates} and ${x} do not fit: ${formatShape(x.shape)}`,
      );
    }
    return [{ dtype: x.dtype, shape: x.shape }];
  },
  // ScatterElements, never ScatterND: with repeated indices and two threads ScatterND loses updates.
  lower: directly('ScatterElements', ({ axis }) => ({
    axis: { int: axis },
    reduction: { string: 'add' },
  })),
  gradient(node, dy, { axis }) {
    return [dy, undefined, gatherElements(dy, node.inputs[1], axis)];
  },
});

/** x with updates added at indices along an axis; repeated indices add up. */
export function scatterAdd(x: Value, indices: Value, updates: Value, axis: number): Value {
  return scatterAddOp.first([x, indices, updates], { axis: normalizeAxis('scatterAdd', axis, x.rank) });
}

export const topKOp = defineOp<{ readonly k: number }>({
  name: 'topK',
  infer([x], { k }) {
    const [last] = x.shape.slice(-1);
    if (typeof last !== 'number' || k < 1 || k > last)
      throw shapeError('topK', `there are no ${k} largest values in ${x}`);
    const shape = [...x.shape.slice(0, -1), k];
    return [
      { dtype: x.dtype, shape },
      { dtype: 'int64', shape },
    ];
  },
  lower(emitter, { inputs: [x], outputs }, { k }) {
    emitter.emit('TopK', [x, int64([1], [k])], outputs, { axis: { int: -1 } });
  },
  gradient: { notDifferentiable: 'it is for models that are not trained' },
});

/** The k largest values along the last axis, largest first, and their indices in int64. */
export function topK(x: Value, k: number): { values: Value; indices: Value } {
  const [values, indices] = topKOp.apply([x], { k });
  return { values, indices };
}
