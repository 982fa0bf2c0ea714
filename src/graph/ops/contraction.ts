/** Contractions: matrix products and sums over axes; and broadcasts, which sums undo. */
import { defineOp, type NodeInput, type Op, type Value } from '../graph.ts';
import {
  type Dim,
  type Shape,
  broadcastShapes,
  elementCount,
  formatShape,
  int64,
  multiplyDims,
  normalizeAxis,
  sameShape,
  shapeError,
  staticShape,
  tensor,
} from '../tensor.ts';
import { reshape } from './layout.ts';

type MatMulAttributes = { readonly transposeA: boolean; readonly transposeB: boolean };

export const matmulOp = defineOp<MatMulAttributes>({
  name: 'matmul',
  infer([a, b], { transposeA, transposeB }) {
    const described = `${a}${transposeA ? ' transposed' : ''} times ${b}${transposeB ? ' transposed' : ''}`;
    if (a.rank < 2 || b.rank < 2) throw shapeError('matmul', `${described}: both need at least two dimensions`);
    if (a.dtype !== b.dtype) throw shapeError('matmul', `${described}: dtypes must be equal`);
    const [rows, innerA] = lastTwo(a, transposeA);
    const [innerB, columns] = lastTwo(b, transposeB);
    if (innerA !== innerB) throw shapeError('matmul', `${described}: inner dimensions ${innerA} and ${innerB} differ`);
    const batch = broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [{ dtype: a.dtype, shape: [...batch, rows, columns] }];
  },
  lower(emitter, { inputs, outputs }, { transposeA, transposeB }) {
    if (!transposeA && !transposeB) {
      emitter.emit('MatMul', inputs, outputs);
    } else if (emitter.device === 'webgpu') {
      // The WebGPU provider lacks FusedMatMul: the node would travel to the CPU and back.
      const operand = (value: Value, transposed: boolean): NodeInput => {
        if (!transposed) return value;
        const axes = value.shape.map((_, axis) => axis);
        const permutation = [...axes.slice(0, -2), value.rank - 1, value.rank - 2];
        return emitter.step('Transpose', [value], { perm: { ints: permutation } });
      };
      emitter.emit('MatMul', [operand(inputs[0], transposeA), operand(inputs[1], transposeB)], outputs);
    } else {
      const attributes = { transA: { int: Number(transposeA) }, transB: { int: Number(transposeB) } };
      emitter.emit('FusedMatMul', inputs, outputs, attributes, 'com.microsoft');
    }
  },
  gradient(node, dy, { transposeA, transposeB }) {
    const [a, b] = node.inputs;
    const da = transposeA
      ? matmul(b, dy, { transposeA: transposeB, transposeB: true })
      : matmul(dy, b, { transposeB: !transposeB });
    return [sumTo(da, a.shape), gradientOfSecond(a, b, dy, transposeA, transposeB)];
  },
});

function lastTwo(value: Value, transposed: boolean): [Dim, Dim] {
  const [rows, columns] = value.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}

function gradientOfSecond(a: Value, b: Value, dy: Value, transposeA: boolean, transposeB: boolean): Value {
  let left = a;
  let upstream = dy;
  if (b.rank === 2 && a.rank > 2 && !transposeA) {
    // All batches share the weight: one product over all rows instead of a batch of products and a sum.
    left = reshape(a, [multiplyDims(...a.shape.slice(0, -1)), a.shape[a.rank - 1]]);
    upstream = reshape(dy, [multiplyDims(...dy.shape.slice(0, -1)), dy.shape[dy.rank - 1]]);
  }
  const db = transposeB
    ? matmul(upstream, left, { transposeA: true, transposeB: transposeA })
    : matmul(left, upstream, { transposeA: !transposeA });
  return sumTo(db, b.shape);
}

/**
 * The matrix product of the last two dimensions; leading dimensions broadcast.
 *
 * @param a [..., M, K], or [..., K, M] with `transposeA`
 * @param b [..., K, N], or [..., N, K] with `transposeB`
 * @returns [..., M, N]
 */
export function matmul(a: Value, b: Value, options: { transposeA?: boolean; transposeB?: boolean } = {}): Value {
  const { transposeA = false, transposeB = false } = options;
  return matmulOp.first([a, b], { transposeA, transposeB });
}

type ReduceAttributes = { readonly axes: readonly number[]; readonly keepDims: boolean };

const reductions = {
  sum: 'ReduceSum',
  max: 'ReduceMax',
  sumSquare: 'ReduceSumSquare',
  logSum: 'ReduceLogSum',
} as const;

function keptShape(shape: Shape, axes: readonly number[]): Dim[] {
  return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
}

/** An op, and its function: reduces over axes that may be negative or repeated (default: all). */
type Reduction = Op<ReduceAttributes> & ((x: Value, axes?: readonly number[], keepDims?: boolean) => Value);

/** Defines a reduction by its gradient, a function of x, the result and its gradient, the reduced axes having size 1. */
export function defineReduction(
  name: keyof typeof reductions,
  gradient: (x: Value, kept: Value, dyKept: Value) => Value,
): Reduction {
  const op = defineOp<ReduceAttributes>({
    name,
    infer([x], { axes, keepDims }) {
      const shape = keepDims ? keptShape(x.shape, axes) : x.shape.filter((_, axis) => !axes.includes(axis));
      return [{ dtype: x.dtype, shape }];
    },
    lower(emitter, { inputs: [x], outputs }, { axes, keepDims }) {
      const attributes = { keepdims: { int: Number(keepDims) } };
      emitter.emit(reductions[name], [x, int64([axes.length], axes)], outputs, attributes);
    },
    gradient(node, dy, { axes }) {
      const [x] = node.inputs;
      const kept = keptShape(x.shape, axes);
      return [gradient(x, reshape(node.outputs[0], kept), reshape(dy, kept))];
    },
  });
  const reduce = (x: Value, axes: readonly number[] = [...x.shape.keys()], keepDims = false): Value => {
    const resolved = axes.map((axis) => normalizeAxis(name, axis, x.rank));
    const sorted = [...new Set(resolved)].sort((a, b) => a - b);
    return sorted.length === 0 ? x : op.first([x], { axes: sorted, keepDims });
  };
  return Object.assign(reduce, op);
}

/** The sum over `axes` (default: all). Adjacent axes are much faster than scattered ones: keep heads outermost. */
export const sum = defineReduction('sum', (x, _y, dy) => broadcastTo(dy, x.shape));

export const broadcastToOp = defineOp<{ readonly shape: Shape }>({
  name: 'broadcastTo',
  infer([x], { shape }) {
    if (!sameShape(broadcastShapes('broadcastTo', x.shape, shape), shape)) {
      throw shapeError('broadcastTo', `${x} does not broadcast to ${formatShape(shape)}`);
    }
    return [{ dtype: x.dtype, shape }];
  },
  simplify: ([x], { shape }) => (sameShape(x.shape, shape) ? x : undefined),
  lower(emitter, { inputs: [x], outputs }, { shape }) {
    // Expand keeps an input's dimension if asked for 1: that is how named dimensions pass.
    const sizes = shape.map((dim, axis) => {
      if (typeof dim === 'number') return dim;
      if (x.shape[axis - shape.length + x.rank] === dim) return 1;
      throw shapeError('broadcastTo', `named dimension ${dim} of ${formatShape(shape)} is not one of ${x}`);
    });
    emitter.emit('Expand', [x, int64([sizes.length], sizes)], outputs);
  },
  gradient: (node, dy) => [sumTo(dy, node.inputs[0].shape)],
});

/** Repeats x along axes of size 1 (and new leading axes) to fill `shape`. */
export function broadcastTo(x: Value, shape: Shape): Value {
  return broadcastToOp.first([x], { shape: [...shape] });
}

/** Sums x over the axes along which `shape` was broadcast to x's shape: the gradient of broadcasting. */
export function sumTo(x: Value, shape: Shape): Value {
  if (sameShape(x.shape, shape)) return x;
  const extra = x.rank - shape.length;
  const axes = x.shape.flatMap((dim, axis) => (axis < extra || (shape[axis - extra] === 1 && dim !== 1) ? [axis] : []));
  return reshape(columnSums(x, axes) ?? sum(x, axes), shape);
}

/**
 * Sums over all leading axes as a product with a row of ones, which is 2.4 to 3.8 times faster than ReduceSum (biases, norm
 * gains). Undefined if the axes are not the leading ones or sizes are unknown.
 */
function columnSums(x: Value, axes: readonly number[]): Value | undefined {
  const sizes = staticShape(x.shape);
  if (sizes === undefined || axes.length === 0 || axes.length === x.rank || x.dtype !== 'float32') return undefined;
  if (axes.some((axis, index) => axis !== index)) return undefined;
  const rows = elementCount(sizes.slice(0, axes.length));
  const width = elementCount(sizes.slice(axes.length));
  const ones = x.graph.constant(tensor('float32', [1, rows], new Float32Array(rows).fill(1)));
  return matmul(ones, reshape(x, [rows, width])); // [1, width]
}
