/**
 * Feature maps φ of linear attention, as they are configured: names, sizes, learned parameters. Evaluated in `map-graph.ts`
 * (graphs) and `map-rows.ts` (loops).
 */
import { z } from 'zod';
import { collisionBitsSchema, defaultCollisionBits } from '../linear/config.ts';

const featureCount = z.int().min(1).max(65536).default(64);

/** Of the random projections. Another seed is a redraw; layers with different seeds have different projections. */
const seed = z.int().min(0).max(0xffffffff).default(0);

/** m as the authors of YOSO choose it. */
const defaultHashes = 32;

export const featureMapSchema = z.discriminatedUnion('name', [
  /** max(x, 0). */
  z.strictObject({ name: z.literal('relu') }),
  /** 1 + elu(x). */
  z.strictObject({ name: z.literal('elu') }),
  /** Positive orthogonal random features of the softmax kernel (FAVOR+). */
  z.strictObject({ name: z.literal('performer'), features: featureCount, seed }),
  /** Sine and cosine of `features` random frequencies, on unit vectors; `scale` is σ of the Gaussian kernel. */
  z.strictObject({
    name: z.literal('rfa'),
    features: featureCount,
    seed,
    scale: z.number().min(0.1).max(100).default(1),
  }),
  /** Softmax of a learned linear map, and of its negation. */
  z.strictObject({ name: z.literal('hedgehog') }),
  /** One softmax over a learned linear map and its negation, times √m: two rows that do not agree have weight 1. */
  z.strictObject({ name: z.literal('balanced') }),
  /** One-hot buckets of `hashes` hashes of `bits` random hyperplanes: the sampled estimator of YOSO. */
  z
    .strictObject({
      name: z.literal('hashes'),
      hashes: z.int().min(1).max(1024).default(defaultHashes),
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
  /** m: features of a vector of `width`. */
  features(map: Map, width: number): number;
  describe(map: Map): string;
  /** Whether the map has the learned matrices `feature_map_q.weight` and `feature_map_k.weight`. */
  readonly learned: boolean;
  /**
   * Least denominator of the ratio. Positive features only need to be kept from 0/0; the sums of RFA's sines and
   * cosines, which estimate positive numbers, may come out near or below zero.
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

/** m: number of features of a row of `width` numbers. */
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
