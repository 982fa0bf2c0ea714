/** The feature maps of `maps.ts` as graphs, on rows of many heads at once. */
import type { Value } from '../../../graph/graph.ts';
import { matmul, sum } from '../../../graph/ops/contraction.ts';
import {
  add,
  cast,
  cos,
  elu,
  equal,
  exp,
  greater,
  minimum,
  mul,
  neg,
  relu,
  sin,
  sub,
} from '../../../graph/ops/elementwise.ts';
import { softmax, unitLength } from '../../../graph/ops/normalization.ts';
import { max } from '../../../graph/ops/reduce.ts';
import { tensor } from '../../../graph/tensor.ts';
import { concat, reshape } from '../../../graph/ops/layout.ts';
import { stopGradient } from '../../../graph/ops/surrogate-gradient.ts';
import {
  type FeatureMap,
  type FeatureMapName,
  type FeatureMapOf,
  normalDirections,
  keyMapName,
  orthogonalDirections,
  queryMapName,
} from './maps.ts';
import type { FoldInput } from '../../mixer.ts';
import { type FeatureSide, largestExponent, performerEpsilon } from './reference.ts';

/** x [B,heads,rows,D] → [B,heads,rows,m]. */
type GraphFeatures<Name extends FeatureMapName> = (
  map: FeatureMapOf<Name>,
  x: Value,
  { side, scale, weight }: Omit<FeatureContext, 'factor'>,
) => Value;

/** The heads' side, their scores' scale and their learned matrix. */
export interface FeatureContext {
  readonly side: FeatureSide;
  /** Factor of q·k in the softmax that a map may approximate. */
  readonly scale: number;
  /** [heads,D,D], for a learned map. */
  readonly weight?: Value;
  /** Factor of the features, broadcast against them. Default: none. */
  readonly factor?: Value;
}

/** A projection [D, columns] times a factor, shared by all layers that ask for the same. */
function projection(
  like: Value,
  name: string,
  columns: number,
  seed: number,
  directions: (width: number, count: number, seed: number) => Float32Array,
  factor = 1,
): Value {
  const D = Number(like.shape[like.rank - 1]);
  return like.graph.sharedConstant(`${name} ${D} ${columns} ${seed} ${factor}`, () =>
    tensor(
      'float32',
      [D, columns],
      directions(D, columns, seed).map((x) => x * factor),
    ),
  );
}

/** A number or matrix per head [heads,…], shaped for separate rows: [heads,1,…]. */
export function rowwise(perHead: Value): Value {
  const [heads, ...own] = perHead.shape;
  return reshape(perHead, [heads, 1, ...own]);
}

/** The map's own factor on its features, besides the caller's. */
function ownFactor(map: FeatureMap, features: Value): number {
  return map.name === 'balanced' ? Math.sqrt(Number(features.shape[features.rank - 1])) : 1;
}

const graphFeatures: { readonly [N in FeatureMapName]: GraphFeatures<N> } = {
  relu: (_, x) => relu(x),
  elu: (_, x) => add(elu(x), 1),
  performer({ features, seed }, x, { side, scale }) {
    const directions = projection(x, 'orthogonal', features, seed, orthogonalDirections, Math.sqrt(scale));
    const projected = matmul(x, directions); // [B,heads,rows,m]
    const exponent =
      side === 'query'
        ? sub(projected, max(projected, [-1], true))
        : minimum(sub(projected, mul(sum(mul(x, x), [-1], true), 0.5 * scale)), largestExponent);
    return mul(add(exp(exponent), performerEpsilon), 1 / Math.sqrt(features));
  },
  rfa({ features, seed, scale }, x) {
    const angles = matmul(unitLength(x), projection(x, 'normal', features, seed, normalDirections, 1 / scale));
    return mul(concat([sin(angles), cos(angles)], x.rank - 1), 1 / Math.sqrt(features));
  },
  hedgehog(_, x, { weight }) {
    const projected = weight === undefined ? x : matmul(x, weight);
    return concat([softmax(projected), softmax(neg(projected))], x.rank - 1);
  },
  balanced(_, x, { weight }) {
    const projected = weight === undefined ? x : matmul(x, weight);
    return softmax(concat([projected, neg(projected)], x.rank - 1));
  },
  hashes({ hashes, bits, seed }, x) {
    const [B, heads, rows] = x.shape;
    const buckets = 2 ** bits;
    const sides = matmul(x, projection(x, 'normal', hashes * bits, seed, normalDirections));
    const ones = reshape(cast(greater(sides, 0), 'float32'), [B, heads, rows, hashes, bits]);
    const powers = x.graph.sharedNumbers(`powers of 2 ${bits}`, [bits, 1], (bit) => 2 ** bit);
    const numbers = x.graph.sharedNumbers(`numbers ${buckets}`, [buckets], (i) => i);
    const oneHot = cast(equal(matmul(ones, powers), numbers), 'float32'); // [B,heads,rows,hashes,buckets]
    const flat = reshape(oneHot, [B, heads, rows, hashes * buckets]);
    return stopGradient(mul(flat, 1 / Math.sqrt(hashes)));
  },
};

/**
 * φ of rows.
 * @param x [B,heads,rows,D], or [B,heads,rows,1,D], which a learned map multiplies row by row; B and rows may be named dimensions
 * @returns [B,heads,rows,m] or [B,heads,rows,1,m]
 */
export function mapFeatures<Name extends FeatureMapName>(
  map: FeatureMapOf<Name> & { name: Name },
  x: Value,
  context: FeatureContext,
): Value {
  const name: Name = map.name;
  const { factor, weight } = context;
  const byRow = weight !== undefined && x.rank > 4;
  const features = graphFeatures[name](map, x, { ...context, weight: byRow ? rowwise(weight) : weight });
  const own = ownFactor(map, features);
  return mul(features, factor === undefined ? own : mul(factor, own));
}

/** φ of queries, see `mapFeatures`. @param factor multiplies the features; broadcasts */
export function queryFeatures(map: FeatureMap, q: Value, { parameters, scoring }: MapInput, factor?: Value): Value {
  return mapFeatures(map, q, { side: 'query', scale: scoring.scale, weight: parameters[queryMapName], factor });
}

/** φ of keys, see `mapFeatures`. */
export function keyFeatures(map: FeatureMap, k: Value, { parameters, scoring }: MapInput): Value {
  return mapFeatures(map, k, { side: 'key', scale: scoring.scale, weight: parameters[keyMapName] });
}

type MapInput = Pick<FoldInput, 'parameters' | 'scoring'>;
