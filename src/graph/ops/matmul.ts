/** Matrix products, batched and with either operand transposed. */
import { defineOp, only, type Value } from '../graph.ts';
import { broadcastShapes, type Dim, multiplyDims, shapeError } from '../shape.ts';
import { sumTo } from './reduce.ts';
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
  lower(emitter, node, { transposeA, transposeB }) {
    const [a, b] = node.inputs;
    const output = [emitter.name(node.outputs[0])];
    if (!transposeA && !transposeB) {
      emitter.emit('MatMul', [emitter.name(a), emitter.name(b)], output);
    } else if (emitter.device === 'webgpu') {
      // The WebGPU provider has no FusedMatMul: a node it lacks would travel to the CPU and back.
      const operand = (value: Value, transposed: boolean): string => {
        if (!transposed) return emitter.name(value);
        const axes = value.shape.map((_, axis) => axis);
        const swapped = emitter.temporary();
        emitter.emit('Transpose', [emitter.name(value)], [swapped], {
          perm: { ints: [...axes.slice(0, -2), value.rank - 1, value.rank - 2] },
        });
        return swapped;
      };
      emitter.emit('MatMul', [operand(a, transposeA), operand(b, transposeB)], output);
    } else {
      const attributes = { transA: { int: transposeA ? 1 : 0 }, transB: { int: transposeB ? 1 : 0 } };
      emitter.emit('FusedMatMul', [emitter.name(a), emitter.name(b)], output, attributes, 'com.microsoft');
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
  const rows = value.shape[value.rank - 2];
  const columns = value.shape[value.rank - 1];
  return transposed ? [columns, rows] : [rows, columns];
}

function gradientOfSecond(a: Value, b: Value, dy: Value, transposeA: boolean, transposeB: boolean): Value {
  let left = a;
  let upstream = dy;
  if (b.rank === 2 && a.rank > 2 && !transposeA) {
    // A weight shared by all batches: one product over all rows instead of a batch of products and a sum.
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
  return only(matmulOp.apply([a, b], { transposeA, transposeB }));
}
