/** Both forms of Linformer as loops. */
import { LinnetError } from '../../../errors.ts';
import { addScaled, type ReferencePositions, softmaxKernel, weightedSum } from '../../reference.ts';
import {
  type BlockLinformerMixer,
  keyProjection,
  type LinformerMixer,
  requireFittingLength,
  valueProjection,
} from './config.ts';

/**
 * [H,n,E]
 * @throws LinnetError `INPUT` for a tree, whose rows have no columns in the projections; `SHAPE` for a sequence longer than
 *   they are
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

/** [H,n,E] */
export function blockLinformerReference(config: BlockLinformerMixer, positions: ReferencePositions): Float64Array {
  const { headWidth, valueWidth } = positions;
  const blockOf = (position: number): number => positions.group(position, config.block);
  return positions.mapRows((head, position) => {
    const kvHead = positions.keyValueHead(head);
    const seen = positions.seen(position);
    const own = seen.filter((other) => blockOf(other) === blockOf(position));
    const keys = own.map((other) => positions.key(kvHead, other));
    const values = own.map((other) => positions.value(kvHead, other));
    // Every other visible block: in a causal sequence the earlier ones, all complete.
    for (const block of new Set(seen.map(blockOf))) {
      if (block === blockOf(position)) continue;
      const members = seen.filter((other) => blockOf(other) === block);
      for (let r = 0; r < config.rows; r++) {
        const [key, value] = [new Float64Array(headWidth), new Float64Array(valueWidth)];
        for (const other of members) {
          const column = r * config.block + (positions.depths[other] % config.block);
          addScaled(key, positions.parameter(keyProjection)[column], positions.key(kvHead, other));
          addScaled(value, positions.parameter(valueProjection)[column], positions.value(kvHead, other));
        }
        keys.push(key);
        values.push(value);
      }
    }
    const weights = softmaxKernel(positions.scale)(positions.query(head, position), keys);
    const mixed = weightedSum(weights, values, valueWidth);
    positions.addConvolution(head, position, mixed);
    return mixed;
  });
}
