/** Seeded random projections of the feature maps: equal seeds and sizes give equal matrices on every platform. */
import { Random } from '../../../random.ts';

/** Squared length below which the residual of the projections is rounding error and the vector is drawn again. */
const degenerate = 1e-12;

/**
 * Random directions that are orthogonal within blocks of `width` and have the lengths of standard normal vectors: the
 * matrix of FAVOR+ (Choromanski et al., "Rethinking Attention with Performers", section 2.4). Each column alone is
 * distributed as N(0, I), so that estimates stay unbiased; orthogonality lowers their variance.
 *
 * @returns [width, count], a column per direction, float32
 */
export function orthogonalDirections(width: number, count: number, seed: number): Float32Array {
  const random = new Random(seed);
  const matrix = new Float32Array(width * count);
  let block: Float64Array[] = [];
  for (let column = 0; column < count; column++) {
    if (column % width === 0) block = [];
    const direction = nextOrthogonal(block, width, random);
    block.push(direction);
    const length = Math.hypot(...normalVector(width, random));
    for (let row = 0; row < width; row++) matrix[row * count + column] = length * direction[row];
  }
  return matrix;
}

/** Independent standard normal directions [width, count], float32: the frequencies of RFA, the hyperplanes of hashes. */
export function normalDirections(width: number, count: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: width * count }, () => random.normal());
}

function normalVector(width: number, random: Random): Float64Array {
  return Float64Array.from({ length: width }, () => random.normal());
}

/** A unit vector orthogonal to the block's vectors (Gram–Schmidt). */
function nextOrthogonal(block: readonly Float64Array[], width: number, random: Random): Float64Array {
  for (;;) {
    const vector = normalVector(width, random);
    for (const other of block) {
      let along = 0;
      for (let i = 0; i < width; i++) along += vector[i] * other[i];
      for (let i = 0; i < width; i++) vector[i] -= along * other[i];
    }
    const squared = vector.reduce((sum, x) => sum + x * x, 0);
    if (squared > degenerate) return vector.map((x) => x / Math.sqrt(squared));
  }
}
