/** Configuration of gated linear attention: maps of rows, gains, parameters. */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { convolutionField, filterParameters, withConvolution } from '../../convolution-config.ts';
import type { HeadLayout } from '../../head-layout.ts';
import type { AttentionDims, HeadCounts, MixerParameter, MixerParameterValues } from '../../mixer.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { unit } from '../../reference.ts';
import { type FeatureContext, mapFeatures } from '../features/map-graph.ts';
import { featuresOfRow, type RowContext } from '../features/reference.ts';
import { describeFeatureMap, featuresOf, isLearnedMap, mapParameters, positiveMaps } from '../features/maps.ts';
import { decayParameters, decaySchema, describeDecay } from './decay.ts';

export const rowMapSchema = z.discriminatedUnion('name', [
  /** Leaves rows unchanged; queries times the scores' scale. */
  z.strictObject({ name: z.literal('none') }),
  /** Scales rows to unit length. */
  z.strictObject({ name: z.literal('unit') }),
  ...positiveMaps,
]);

export type RowMap = z.infer<typeof rowMapSchema>;

type PositiveMap = z.infer<(typeof positiveMaps)[number]>;

/** Whether all products of features are positive, so that their sum can be a denominator. */
export function isPositive(map: RowMap): map is PositiveMap {
  return map.name !== 'none' && map.name !== 'unit';
}

/** F, for rows of D numbers. */
export function widthOf(map: RowMap, headWidth: number): number {
  return isPositive(map) ? featuresOf(map, headWidth) : headWidth;
}

/** Whether features use learned matrices. */
export function hasLearnedMap(map: RowMap): boolean {
  return isPositive(map) && isLearnedMap(map);
}

/** "hedgehog". */
function describeRows(map: RowMap): string {
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

/** [H] */
export const gainName = 'output_gain';

export function gainParameter({ heads }: HeadCounts): MixerParameter {
  return { name: gainName, shape: [heads], init: 'ones' };
}

/** Outputs [B,n,H,E] times their heads' gains, if any. */
export function amplified(mixed: Value, { [gainName]: gain }: MixerParameterValues): Value {
  return gain === undefined ? mixed : mul(mixed, reshape(gain, [mixed.shape[2], 1]));
}

/** `amplified` for nodes of trees: [B,M,R·T,E]. */
export function amplifiedNodes(mixed: Value, heads: HeadLayout, { [gainName]: gain }: MixerParameterValues): Value {
  if (gain === undefined) return mixed;
  const [B, M, R, T] = heads.queries.shape;
  if (R === 1) return mul(mixed, reshape(gain, [M, 1, 1]));
  const perHead = reshape(mixed, [B, M, R, T, mixed.shape[3]]); // head h = m*R + r
  return heads.join(mul(perHead, reshape(gain, [M, R, 1, 1])));
}

export const gatedSchema = z
  .strictObject({
    kind: z.literal('gated'),
    /** Positions per chunk. It sizes the computation and the state; the result does not depend on it. */
    group: groupSchema.default(defaultGroup),
    /** φ of queries and keys. */
    map: rowMapSchema.default({ name: 'hedgehog' }),
    decay: decaySchema.exclude(['none']).default('data'),
    /**
     * `ratio`: divides by the sum of the weights; only for maps with positive features. `rms`: divides every head by its
     * root mean square. `none`: keeps the sum. The last two have a learned gain per query head.
     */
    output: z.enum(['ratio', 'rms', 'none']).default('ratio'),
    convolution: convolutionField,
  })
  .refine(({ map, output }) => output !== 'ratio' || isPositive(map), {
    message: 'a ratio needs positive features: choose another map, or output rms or none',
    path: ['output'],
  });

/** Gated linear attention. */
export type GatedMixer = z.infer<typeof gatedSchema>;

const outputNames: Readonly<Record<GatedMixer['output'], string>> = {
  ratio: '',
  rms: ' and rms norm',
  none: ', not normalized',
};

/** "gated hedgehog with learned decay + convolution 63, G = 64". */
export function describeGated({ map, decay, output, convolution, group }: GatedMixer): string {
  const text = `gated ${describeRows(map)} with ${describeDecay(decay)}${outputNames[output]}`;
  return `${withConvolution(text, convolution)}, G = ${group}`;
}

export function gatedParameters(
  { map, decay, output, convolution }: GatedMixer,
  dims: AttentionDims,
): MixerParameter[] {
  return [
    ...(hasLearnedMap(map) ? mapParameters(dims) : []),
    ...decayParameters(decay, dims),
    ...(output === 'ratio' ? [] : [gainParameter(dims)]),
    ...filterParameters(convolution, dims),
  ];
}
