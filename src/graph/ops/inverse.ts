/** The inverse of square matrices. */
import { defineFunction, type OpFunction, sameType, type Value } from '../graph.ts';
import { directly } from '../onnx/direct-node.ts';
import { shapeError } from '../tensor.ts';
import { matmul } from './contraction.ts';
import { neg } from './elementwise.ts';

/** X⁻¹ of every matrix in x [..., n, n], by elimination with pivots. One node for any n; for n = 1 almost free. */
export const inverse: OpFunction<[x: Value]> = defineFunction({
  name: 'inverse',
  infer([x]) {
    const [rows, columns] = x.shape.slice(-2);
    if (x.dtype === 'float32' && x.rank >= 2 && rows === columns) return sameType([x]);
    throw shapeError('inverse', `needs square float32 matrices, got ${x}`);
  },
  lower: directly('Inverse', undefined, 'com.microsoft'),
  // dX = −X⁻ᵀ·dY·X⁻ᵀ
  gradient(node, dy) {
    const [y] = node.outputs;
    return [neg(matmul(matmul(y, dy, { transposeA: true }), y, { transposeB: true }))];
  },
});
