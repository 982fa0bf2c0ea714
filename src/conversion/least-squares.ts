/** Ridge regression by normal equations, in float64. */
import { LinnetError } from '../errors.ts';

/** AᵀA and Aᵀb of an overdetermined system with `size` unknowns, accumulated by row blocks. */
export function normalEquations(size: number) {
  const gram = new Float64Array(size * size); // row-major, symmetric
  const right = new Float64Array(size);
  return {
    /**
     * Adds equations Σ_i column_i · x_{index_i} = target.
     * @param columns of equal length, one per index; other unknowns do not occur in these equations
     */
    add(columns: readonly Float64Array[], indices: readonly number[], target: Float64Array): void {
      for (const [a, column] of columns.entries()) {
        const row = indices[a] * size;
        for (let b = 0; b <= a; b++) {
          const product = dot(column, columns[b]);
          gram[row + indices[b]] += product;
          if (a !== b) gram[indices[b] * size + indices[a]] += product;
        }
        right[indices[a]] += dot(column, target);
      }
    },
    /**
     * The x that minimizes ‖Ax − b‖² + ρ‖x‖², with ρ the given share of AᵀA's mean diagonal; zeros where A is zero.
     * @param share in (0, 1); keeps nearly parallel columns from growing against each other
     */
    solve(share = 1e-4): Float64Array {
      let trace = 0;
      for (let i = 0; i < size; i++) trace += gram[i * size + i];
      if (trace === 0) return new Float64Array(size);
      const matrix = gram.slice();
      for (let i = 0; i < size; i++) matrix[i * size + i] += (share * trace) / size;
      return solveByCholesky(matrix, right, size);
    },
  };
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}

/** Solves a symmetric positive definite system; its factor overwrites the lower triangle of `matrix`. */
function solveByCholesky(matrix: Float64Array, right: Float64Array, n: number): Float64Array {
  for (let column = 0; column < n; column++) {
    for (let row = column; row < n; row++) {
      let value = matrix[row * n + column];
      for (let i = 0; i < column; i++) value -= matrix[row * n + i] * matrix[column * n + i];
      if (row === column && !(value > 0)) throw new LinnetError('RUNTIME', 'the examples of a layer are not finite');
      matrix[row * n + column] = row === column ? Math.sqrt(value) : value / matrix[column * n + column];
    }
  }
  const x = right.slice();
  for (let row = 0; row < n; row++) {
    for (let i = 0; i < row; i++) x[row] -= matrix[row * n + i] * x[i];
    x[row] /= matrix[row * n + row];
  }
  for (let row = n - 1; row >= 0; row--) {
    for (let i = row + 1; i < n; i++) x[row] -= matrix[i * n + row] * x[i];
    x[row] /= matrix[row * n + row];
  }
  return x;
}
