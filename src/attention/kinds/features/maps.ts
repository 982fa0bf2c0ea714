/**
 * Configurations of linear attention's feature maps φ: names, sizes, learned parameters. Evaluated in `map-graph.ts`
 * (graphs) and `reference.ts` (loops).
 */
import { z } from 'zod';
import { Random } from '../../../random.ts';
import { convolutionField } from '../../convolution-config.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { collisionBitsSchema, defaultCollisionBits } from '../linear/config.ts';
import type { AttentionDims, MixerParameter } from '../../mixer.ts';
import { whole } from '../../../files/schema-values.ts';

export const featureCount = whole(1, 65536);
const features = featureCount.default(64);

/** Seeds the random projections. Another seed is a redraw; layers with different seeds have different projections. */
const seed = whole(0, 0xffffffff).default(0);

/** m in YOSO's paper. */
const defaultHashes = 32;

/** Maps without sizes and with positive features: weights that sum their products can share a denominator. */
export const positiveMaps = [
  /** max(x, 0). */
  z.strictObject({ name: z.literal('relu') }),
  /** 1 + elu(x). */
  z.strictObject({ name: z.literal('elu') }),
  /** Softmax over a learned linear map, and over its negation. */
  z.strictObject({ name: z.literal('hedgehog') }),
  /** One softmax over a learned linear map and its negation, times √m: two unrelated rows have weight 1. */
  z.strictObject({ name: z.literal('balanced') }),
] as const;

export const featureMapSchema = z.discriminatedUnion('name', [
  ...positiveMaps,
  /** Positive orthogonal random features of the softmax kernel (FAVOR+). */
  z.strictObject({ name: z.literal('performer'), features, seed }),
  /** Sine and cosine of `features` random frequencies, on unit vectors; `scale` is σ of the Gaussian kernel. */
  z.strictObject({
    name: z.literal('rfa'),
    features,
    seed,
    scale: z.number().min(0.1).max(100).default(1),
  }),
  /** One-hot buckets of `hashes` hashes of `bits` random hyperplanes: the sampled estimator of YOSO. */
  z
    .strictObject({
      name: z.literal('hashes'),
      hashes: whole(1, 1024).default(defaultHashes),
      bits: collisionBitsSchema.default(defaultCollisionBits),
      seed,
    })
    .refine(({ hashes, bits }) => hashes * 2 ** bits <= 65536, 'hashes × 2^bits is at most 65536 features'),
]);

export type FeatureMap = z.infer<typeof featureMapSchema>;
export type FeatureMapName = FeatureMap['name'];
/** The configuration of the map with a given name. */
export type FeatureMapOf<Name extends FeatureMapName> = Extract<FeatureMap, { name: Name }>;

interface MapDescription<Map extends FeatureMap> {
  /** m: number of features for a row of `width` numbers. */
  features(map: Map, width: number): number;
  describe(map: Map): string;
  /** Whether the map has the learned matrices `feature_map_q.weight` and `feature_map_k.weight`. */
  readonly learned: boolean;
  /**
   * The ratio's least denominator. Positive features only need to avoid 0/0; RFA's sums of sines and cosines estimate
   * positive numbers but may end up near or below zero.
   */
  readonly floor: number;
}

const descriptions: { readonly [N in FeatureMapName]: MapDescription<FeatureMapOf<N>> } = {
  relu: { features: (_, width) => width, describe: () => 'relu', learned: false, floor: 1e-6 },
  elu: { features: (_, width) => width, describe: () => '1+elu', learned: false, floor: 1e-6 },
  performer: {
    features: (map) => map.features,
    describe: (map) => `performer ${map.features}`,
    learned: false,
    floor: 1e-9,
  },
  rfa: {
    features: (map) => 2 * map.features,
    describe: (map) => `rfa ${map.features}`,
    learned: false,
    floor: 0.1,
  },
  hedgehog: { features: (_, width) => 2 * width, describe: () => 'hedgehog', learned: true, floor: 1e-6 },
  balanced: { features: (_, width) => 2 * width, describe: () => 'balanced softmax', learned: true, floor: 1e-6 },
  hashes: {
    features: (map) => map.hashes * 2 ** map.bits,
    describe: (map) => `yoso ${map.hashes} hashes of ${map.bits} bits`,
    learned: false,
    floor: 1e-6,
  },
};

function description<Name extends FeatureMapName>(map: { name: Name }): MapDescription<FeatureMapOf<Name>> {
  return descriptions[map.name];
}

/** m: number of features for a row of `width` numbers. */
export function featuresOf<Name extends FeatureMapName>(
  map: FeatureMapOf<Name> & { name: Name },
  width: number,
): number {
  return description<Name>(map).features(map, width);
}

/** "performer 64". */
export function describeFeatureMap<Name extends FeatureMapName>(map: FeatureMapOf<Name> & { name: Name }): string {
  return description<Name>(map).describe(map);
}

/** Whether the map has learned matrices. */
export function isLearnedMap(map: FeatureMap): boolean {
  return descriptions[map.name].learned;
}

/** The least denominator of the ratio form. */
export function denominatorFloor(map: FeatureMap): number {
  return descriptions[map.name].floor;
}

/** The learned matrix of the queries [H,D,D]. */
export const queryMapName = 'feature_map_q.weight';

/** The learned matrix of the keys [M,D,D]. */
export const keyMapName = 'feature_map_k.weight';

/** The learned matrices of queries and keys. */
export function mapParameters({ heads, keyValueHeads, headWidth: D }: AttentionDims): MixerParameter[] {
  return [
    { name: queryMapName, shape: [heads, D, D], init: 'identity' },
    { name: keyMapName, shape: [keyValueHeads, D, D], init: 'identity' },
  ];
}

/** Squared length below which the projections' residual is rounding error and the vector is drawn again. */
const degenerate = 1e-12;

/**
 * Random directions that are orthogonal within blocks of `width` and as long as standard normal vectors: the matrix of
 * FAVOR+ (Choromanski et al., "Rethinking Attention with Performers", section 2.4). Each column alone is distributed as
 * N(0, I), so that estimates stay unbiased; orthogonality lowers their variance.
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
  return new Random(seed).normals(width * count);
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

export const featuresSchema = z.strictObject({
  kind: z.literal('features'),
  /** Positions per chunk. It sizes the computation and the state; the result does not depend on it. */
  group: groupSchema.default(defaultGroup),
  map: featureMapSchema,
  /**
   * `ratio`: divides by Σ⟨φ(q),φ(k)⟩. `rms`: divides every head's output by its root mean square, `unit` by 1e-5 plus its
   * length; neither has a denominator.
   */
  output: z.enum(['ratio', 'rms', 'unit']).default('ratio'),
  convolution: convolutionField,
});

/** Linear attention through a feature map. */
export type FeaturesMixer = z.infer<typeof featuresSchema>;
