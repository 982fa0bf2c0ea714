/** How matrices can be stored. What each type is and costs is in `sources.ts`. */
export const weightTypes = ['f32', 'f16', 'w8a8', 'int4'] as const;
export type WeightType = (typeof weightTypes)[number];
