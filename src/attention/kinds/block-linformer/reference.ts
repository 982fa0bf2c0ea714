/** Linformer by blocks as loops: one sequence, one tree of positions, or with a mask of keys an encoder's text. */
import type { ReferencePositions } from '../../reference.ts';
import { addScaled, softmaxKernel, weightedSum } from '../../reference-rows.ts';
import { keyProjection, valueProjection } from '../linformer/config.ts';
import type { BlockLinformerMixer } from './config.ts';

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
    // Every other visible block: in a causal sequence the earlier ones, all of them complete.
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
