/** Storage types of matrices; their costs are in `sources.ts`. */
export const weightTypes = ['f32', 'f16', 'w8a8', 'int4'] as const;
export type WeightType = (typeof weightTypes)[number];
