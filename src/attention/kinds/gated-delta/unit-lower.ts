/**
 * The inverse of I + A with A strictly lower triangular [...,n,n], in ⌈log₂ n⌉ rounds of products.
 *
 * Blocks of twice the size in every round: where X holds the inverses of the diagonal blocks of size s, and L the part of A
 * below the diagonal within blocks of size 2s but outside blocks of size s, X − X·L·X holds the inverses of size 2s. Every
 * round works with true inverses of parts of the matrix, which the delta rule keeps small. The series (I − A)(I + A²)(I + A⁴)…
 * costs as much, but its powers are as large as binomial coefficients where many keys are alike, and float32 is not enough.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { cast, equal, mul, neg, sub } from '../../../graph/ops/elementwise.ts';
import { tensor } from '../../../graph/tensor.ts';
import { concat, pad, slice, split } from '../../../graph/ops/layout.ts';

/** Rounds of entries [n,n], from 0: the highest bit in which row and column differ; −1 on and above the diagonal. */
export function roundsOfEntries(n: number): Float32Array {
  return Float32Array.from({ length: n * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    return column < row ? 31 - Math.clz32(row ^ column) : -1;
  });
}

/**
 * @param A [...,n,n]; entries on the diagonal and above it are not read
 * @param rounds as `roundsOfEntries`, broadcasting to A
 * @param count of rounds; 2^count is at least n
 */
export function inverseOfUnitLower(A: Value, rounds: Value, count: number, identity: Value): Value {
  const part = (round: number): Value => mul(A, cast(equal(rounds, round), 'float32'));
  if (count === 0) return identity;
  let inverse = sub(identity, part(0));
  for (let round = 1; round < count; round++) {
    inverse = sub(inverse, matmul(matmul(inverse, part(round)), inverse));
  }
  return inverse;
}

/** Rows of a block that is inverted in rounds; larger ones of a static size are halved. */
const smallBlock = 16;

/**
 * The same for matrices of a static size [X,Y,n,n], in training: halves are inverted by themselves, so that no product has the
 * size of the whole. At n = 64 that is a fifteenth of the multiplications.
 */
export function inverseOfChunks(A: Value): Value {
  const [, Y, n] = A.shape.map(Number);
  if (n <= smallBlock || n % 2 === 1) {
    const rounds = A.graph.sharedConstant(`rounds of ${n}`, () => tensor('float32', [n, n], roundsOfEntries(n)));
    return inverseOfUnitLower(A, rounds, Math.ceil(Math.log2(n)), identityMatrix(A, n));
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
  return like.graph.sharedConstant(`identity ${n}`, () =>
    tensor(
      'float32',
      [n, n],
      Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
    ),
  );
}
