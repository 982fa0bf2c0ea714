/** The feature maps of `maps.ts` on single rows, and linear attention through them as loops over positions, in float64. */
import { addScaled, dot, type ReferencePositions, softmaxOf, unit } from '../../reference.ts';
import {
  denominatorFloor,
  type FeatureMapName,
  type FeatureMapOf,
  type FeaturesMixer,
  keyMapName,
  normalDirections,
  orthogonalDirections,
  queryMapName,
} from './maps.ts';
import { normalizedRow } from './output.ts';

/** Maps a row; a query's features may differ from a key's. */
type RowFeatures<Name extends FeatureMapName> = (
  map: FeatureMapOf<Name>,
  row: Float64Array,
  context: RowContext,
) => Float64Array;

/** Like `FeatureContext` in `map-graph.ts`; `weight` [D,D] is the learned matrix of the row's head. */
export interface RowContext {
  readonly side: FeatureSide;
  readonly scale: number;
  readonly weight?: Float64Array;
}

export type FeatureSide = 'query' | 'key';

/** ε of FAVOR+: keeps features, and so denominators, above zero (the authors' value). */
export const performerEpsilon = 1e-4;

/** Largest exponent in a key's feature, so that float32 does not overflow. */
export const largestExponent = 60;

function columnDots(row: Float64Array, matrix: ArrayLike<number>, columns: number): Float64Array {
  return Float64Array.from({ length: columns }, (_, column) => {
    let sum = 0;
    for (let i = 0; i < row.length; i++) sum += row[i] * matrix[i * columns + column];
    return sum;
  });
}

const rowFeatures: { readonly [N in FeatureMapName]: RowFeatures<N> } = {
  relu: (_, row) => row.map((x) => Math.max(x, 0)),
  elu: (_, row) => row.map((x) => (x > 0 ? 1 + x : Math.exp(x))),
  performer({ features, seed }, row, { side, scale }) {
    const scaled = row.map((x) => x * Math.sqrt(scale));
    const projected = columnDots(scaled, orthogonalDirections(row.length, features, seed), features);
    // A factor common to a query's features cancels in the ratio: sets the largest to 1. A key's must stay.
    const shift = side === 'query' ? Math.max(...projected) : dot(scaled, scaled) / 2;
    const size = Math.sqrt(features);
    return projected.map((x) => (Math.exp(Math.min(x - shift, largestExponent)) + performerEpsilon) / size);
  },
  rfa({ features, seed, scale }, row) {
    const angles = columnDots(unit(row), normalDirections(row.length, features, seed), features);
    const size = Math.sqrt(features);
    return Float64Array.of(
      ...angles.map((angle) => Math.sin(angle / scale) / size),
      ...angles.map((angle) => Math.cos(angle / scale) / size),
    );
  },
  hedgehog(_, row, { weight = new Float64Array(0) }) {
    const projected = columnDots(row, weight, row.length);
    return Float64Array.of(...softmaxOf(projected), ...softmaxOf(projected.map((x) => -x)));
  },
  balanced(_, row, { weight = new Float64Array(0) }) {
    const projected = columnDots(row, weight, row.length);
    const both = Float64Array.of(...projected, ...projected.map((x) => -x));
    return softmaxOf(both).map((x) => x * Math.sqrt(both.length));
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
  context: RowContext,
): Float64Array {
  const name: Name = map.name;
  return rowFeatures[name](map, row, context);
}

/** φ of all keys by key-value head, and of a query. @param map φ of one row */
export function mappedRows(
  positions: ReferencePositions,
  map: (row: Float64Array, context: RowContext) => Float64Array,
): { keys: Float64Array[][]; query: (head: number, position: number) => Float64Array } {
  const { headWidth, scale, keyLength } = positions;
  const square = headWidth * headWidth;
  const ofHead = (name: string, head: number): Float64Array =>
    positions.parameter(name).subarray(head * square, (head + 1) * square);
  const keys = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) => {
    const context = { side: 'key', scale, weight: ofHead(keyMapName, kvHead) } as const;
    return Array.from({ length: keyLength }, (__, j) => map(positions.key(kvHead, j), context));
  });
  const query = (head: number, position: number): Float64Array =>
    map(positions.query(head, position), { side: 'query', scale, weight: ofHead(queryMapName, head) });
  return { keys, query };
}

/** [H,n,E] */
export function featuresReference({ map, output }: FeaturesMixer, positions: ReferencePositions): Float64Array {
  const mapped = mappedRows(positions, (row, context) => featuresOfRow(map, row, context));
  return positions.mapRows((head, position) => {
    const kvHead = positions.keyValueHead(head);
    const query = mapped.query(head, position);
    const sum = new Float64Array(positions.valueWidth);
    let total = 0;
    for (const j of positions.seen(position)) {
      const product = dot(query, mapped.keys[kvHead][j]);
      total += product;
      addScaled(sum, product, positions.value(kvHead, j));
    }
    const mixed = normalizedRow(output, sum, total, denominatorFloor(map));
    positions.addConvolution(head, position, mixed);
    return mixed;
  });
}
