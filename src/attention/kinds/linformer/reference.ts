/** Linformer as published, as loops. */
import { LinnetError } from '../../../errors.ts';
import type { ReferencePositions } from '../../reference.ts';
import { addScaled, softmaxKernel, weightedSum } from '../../reference-rows.ts';
import { keyProjection, type LinformerMixer, requireFittingLength, valueProjection } from './config.ts';

/**
 * [H,n,E]
 * @throws LinnetError `INPUT` for a tree, whose rows have no columns in the projections; `SHAPE` for a sequence longer than
 *   the projections
 */
export function linformerReference(config: LinformerMixer, positions: ReferencePositions): Float64Array {
  const { keyLength, headWidth, valueWidth } = positions;
  const { keyMask } = positions.input;
  requireFittingLength(config, keyLength);
  if (positions.depths.some((depth, position) => depth !== position)) {
    throw new LinnetError('INPUT', 'Linformer projects the positions of a sequence; it is not defined on trees');
  }
  const projected = (weights: Float64Array, columns: number, row: (j: number) => Float64Array): Float64Array[] =>
    Array.from({ length: config.rows }, (_, r) => {
      const sum = new Float64Array(columns);
      for (let j = 0; j < keyLength; j++) {
        if (keyMask?.[j] !== 0) addScaled(sum, weights[r * config.length + j], row(j));
      }
      return sum;
    });
  const rowsOf = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) => ({
    keys: projected(positions.parameter(keyProjection), headWidth, (j) => positions.key(kvHead, j)),
    values: projected(positions.parameter(valueProjection), valueWidth, (j) => positions.value(kvHead, j)),
  }));
  return positions.mapRows((head, position) => {
    const { keys, values } = rowsOf[positions.keyValueHead(head)];
    const weights = softmaxKernel(positions.scale)(positions.query(head, position), keys);
    const mixed = weightedSum(weights, values, valueWidth);
    positions.addConvolution(head, position, mixed);
    return mixed;
  });
}
