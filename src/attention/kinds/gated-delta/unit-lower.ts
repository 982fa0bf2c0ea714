/**
 * The inverse of I + A with A strictly lower triangular. The series (I − A)(I + A²)(I + A⁴)… has powers as large as
 * binomial coefficients if many keys are alike, too large for float32; elimination works with parts of the inverse, which
 * the delta rule keeps small.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul, neg } from '../../../graph/ops/elementwise.ts';
import { inverse } from '../../../graph/ops/inverse.ts';
import { concat, pad, slice, split } from '../../../graph/ops/layout.ts';

/** Largest block inverted by elimination; larger blocks of even size are halved, which is faster. */
const smallBlock = 32;

/** @param A [X,Y,n,n]; entries on the diagonal and above it are not read */
export function inverseOfChunks(A: Value): Value {
  const [, Y, n] = A.shape.map(Number);
  if (n <= smallBlock || n % 2 === 1) {
    const below = squareConstant(A, n, 'below the diagonal', (row, column) => column < row);
    // If an entry is above 1, a pivot moves and rounding leaves traces above the diagonal.
    return mul(inverse(add(mul(A, below), identityMatrix(A, n))), add(below, identityMatrix(A, n)));
  }
  const half = n / 2;
  const [above, below] = [slice(A, 2, 0, half), slice(A, 2, half, n)];
  const diagonal = concat([slice(above, 3, 0, half), slice(below, 3, half, n)], 1); // [X,2Y,half,half]
  const [first, second] = split(inverseOfChunks(diagonal), 1, [Y, Y]);
  const corner = matmul(matmul(second, slice(below, 3, 0, half)), first);
  const rows = [pad(first, 3, 0, half), concat([neg(corner), second], 3)];
  return concat(rows, 2);
}

/** I [n,n]. */
export function identityMatrix(like: Value, n: number): Value {
  return squareConstant(like, n, 'identity', (row, column) => row === column);
}

/** 1 if the condition holds, else 0: [n,n]. */
function squareConstant(like: Value, n: number, name: string, is: (row: number, column: number) => boolean): Value {
  return like.graph.sharedNumbers(`${name} ${n}`, [n, n], (i) => (is(Math.floor(i / n), i % n) ? 1 : 0));
}
