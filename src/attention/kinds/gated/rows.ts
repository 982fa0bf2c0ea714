/** Transforms of queries and keys before their products: rows of F features. */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { unit } from '../../reference-rows.ts';
import { type FeatureContext, mapFeatures } from '../features/map-graph.ts';
import { featuresOfRow, type RowContext } from '../features/map-rows.ts';
import { describeFeatureMap, featuresOf, isLearnedMap } from '../features/maps.ts';

const positiveMaps = [
  z.strictObject({ name: z.literal('hedgehog') }),
  z.strictObject({ name: z.literal('balanced') }),
  z.strictObject({ name: z.literal('relu') }),
  z.strictObject({ name: z.literal('elu') }),
] as const;

export const rowMapSchema = z.discriminatedUnion('name', [
  /** The rows as they are; queries times the scale of scores. */
  z.strictObject({ name: z.literal('none') }),
  /** Rows of unit length. */
  z.strictObject({ name: z.literal('unit') }),
  // Feature maps of the kind `features` that are positive.
  ...positiveMaps,
]);

export type RowMap = z.infer<typeof rowMapSchema>;

type PositiveMap = z.infer<(typeof positiveMaps)[number]>;

/** Whether all products of features are positive, so that their sum can be divided by. */
export function isPositive(map: RowMap): map is PositiveMap {
  return map.name !== 'none' && map.name !== 'unit';
}

/** F, of rows of D numbers. */
export function widthOf(map: RowMap, headWidth: number): number {
  return isPositive(map) ? featuresOf(map, headWidth) : headWidth;
}

export function hasLearnedMap(map: RowMap): boolean {
  return isPositive(map) && isLearnedMap(map);
}

/** "hedgehog". */
export function describeRows(map: RowMap): string {
  if (isPositive(map)) return describeFeatureMap(map);
  return map.name === 'unit' ? 'unit rows' : 'plain rows';
}

/** φ of rows [B,heads,n,D]: [B,heads,n,F]. */
export function mapRows(map: RowMap, rows: Value, context: FeatureContext): Value {
  if (isPositive(map)) return mapFeatures(map, rows, context);
  if (map.name === 'unit') return unitLength(rows);
  return context.side === 'query' ? mul(rows, context.scale) : rows;
}

/** φ of one row, in float64. */
export function mapRow(map: RowMap, row: Float64Array, context: RowContext): Float64Array {
  if (isPositive(map)) return featuresOfRow(map, row, context);
  if (map.name === 'unit') return unit(row);
  return context.side === 'query' ? row.map((x) => x * context.scale) : row;
}
