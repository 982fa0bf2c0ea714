/** The feature maps of `feature-config.ts` on single rows, in float64: the oracle of `feature-graph.ts`. */
import { dot, unit } from '../naive-rows.ts';
import type { FeatureMapName, FeatureMapOf } from './feature-config.ts';
import { normalDirections, orthogonalDirections } from './random-features.ts';

/** Maps a row; a query's and a key's features may differ. `weight` [d,d] is the learned matrix of the row's head. */
type RowFeatures<Name extends FeatureMapName> = (
  map: FeatureMapOf<Name>,
  row: Float64Array,
  side: FeatureSide,
  weight: Float64Array | undefined,
) => Float64Array;

export type FeatureSide = 'query' | 'key';

/** ε of FAVOR+: keeps features, and so denominators, above zero (value of the authors' code). */
export const performerEpsilon = 1e-4;

/** Largest exponent of a key's feature, so that float32 does not overflow. */
export const largestExponent = 60;

function columnDots(row: Float64Array, matrix: ArrayLike<number>, columns: number): Float64Array {
  return Float64Array.from({ length: columns }, (_, column) => {
    let sum = 0;
    for (let i = 0; i < row.length; i++) sum += row[i] * matrix[i * columns + column];
    return sum;
  });
}

function softmaxOf(scores: Float64Array): Float64Array {
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

const rowFeatures: { readonly [N in FeatureMapName]: RowFeatures<N> } = {
  relu: (_, row) => row.map((x) => Math.max(x, 0)),
  elu: (_, row) => row.map((x) => (x > 0 ? 1 + x : Math.exp(x))),
  performer({ features, seed }, row, side) {
    const scaled = row.map((x) => x / row.length ** 0.25);
    const projected = columnDots(scaled, orthogonalDirections(row.length, features, seed), features);
    // A factor common to a query's features cancels in the ratio: its largest is set to 1. A key's may not be changed.
    const shift = side === 'query' ? Math.max(...projected) : dot(scaled, scaled) / 2;
    const size = Math.sqrt(features);
    return projected.map((x) => (Math.exp(Math.min(x - shift, largestExponent)) + performerEpsilon) / size);
  },
  rfa({ features, seed, scale }, row) {
    const angles = columnDots(unit.apply(row), normalDirections(row.length, features, seed), features);
    const size = Math.sqrt(features);
    return Float64Array.of(
      ...angles.map((angle) => Math.sin(angle / scale) / size),
      ...angles.map((angle) => Math.cos(angle / scale) / size),
    );
  },
  hedgehog(_, row, __, weight = new Float64Array(0)) {
    const projected = columnDots(row, weight, row.length);
    return Float64Array.of(...softmaxOf(projected), ...softmaxOf(projected.map((x) => -x)));
  },
  hashes({ hashes, bits, seed }, row) {
    const sides = columnDots(row, normalDirections(row.length, hashes * bits, seed), hashes * bits);
    const features = new Float64Array(hashes * 2 ** bits);
    for (let hash = 0; hash < hashes; hash++) {
      let bucket = 0;
      for (let bit = 0; bit < bits; bit++) if (sides[hash * bits + bit] > 0) bucket += 2 ** bit;
      features[hash * 2 ** bits + bucket] = 1 / Math.sqrt(hashes);
    }
    return features;
  },
};

/** φ of one row. */
export function featuresOfRow<Name extends FeatureMapName>(
  map: FeatureMapOf<Name> & { name: Name },
  row: Float64Array,
  side: FeatureSide,
  weight?: Float64Array,
): Float64Array {
  const name: Name = map.name;
  return rowFeatures[name](map, row, side, weight);
}
