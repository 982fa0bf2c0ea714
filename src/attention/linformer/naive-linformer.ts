/** Linformer as loops, in float64: the oracle of `whole-linformer.ts` and `block-linformer.ts`. */
import { LinnetError } from '../../errors.ts';
import { requireFittingLength } from './whole-linformer.ts';
import type { BlockLinformerMixer, LinformerMixer } from '../mixer.ts';
import { type NaiveInput, NaivePositions, rowOf } from '../naive-input.ts';
import { addScaled, localRowKernels } from '../naive-rows.ts';

/**
 * Mixes one sequence.
 * @returns [H,n,e]
 * @throws LinnetError `SHAPE` or `INPUT` as `NaivePositions`; `INPUT` for a tree, whose rows have no place in the
 *   projections; `SHAPE` for a sequence longer than the projections.
 */
export function naiveLinformer(config: LinformerMixer, input: NaiveInput): Float64Array {
  const positions = new NaivePositions(config, input);
  const { heads, length, headDim } = input.dims;
  const { keyLength } = positions;
  const { keyMask } = input;
  requireFittingLength(config, keyLength);
  if (positions.depths.some((depth, position) => depth !== position)) {
    throw new LinnetError('INPUT', 'Linformer projects the positions of a sequence; it is not defined on trees');
  }
  const width = positions.valueDim;
  const out = new Float64Array(heads * length * width);
  for (let head = 0; head < heads; head++) {
    const kvHead = positions.keyValueHead(head);
    const projected = (weights: Float64Array | undefined, columns: number, row: (j: number) => Float64Array) =>
      Array.from({ length: config.rows }, (_, r) => {
        const sum = new Float64Array(columns);
        for (let j = 0; j < keyLength; j++) {
          if (keyMask?.[j] !== 0) addScaled(sum, weights?.[r * config.length + j] ?? 0, row(j));
        }
        return sum;
      });
    const keys = projected(input.projections?.keys, headDim, (j) => positions.key(kvHead, j));
    const values = projected(input.projections?.values, width, (j) => positions.value(kvHead, j));
    for (let position = 0; position < length; position++) {
      rowOf(out, head, position, length, width).set(readRows(positions, head, position, keys, values));
    }
  }
  return out;
}

/**
 * Mixes one sequence, one tree of positions, or with a mask of keys an encoder's text, by blocks.
 * @returns [H,n,e]
 * @throws LinnetError `SHAPE` or `INPUT` as `NaivePositions`.
 */
export function naiveBlockLinformer(config: BlockLinformerMixer, input: NaiveInput): Float64Array {
  const positions = new NaivePositions(config, input);
  const { heads, length, headDim } = input.dims;
  const width = positions.valueDim;
  const out = new Float64Array(heads * length * width);
  const blockOf = (position: number): number => Math.floor(positions.depths[position] / config.block);
  for (let head = 0; head < heads; head++) {
    const kvHead = positions.keyValueHead(head);
    for (let position = 0; position < length; position++) {
      const seen = positions.seen(position);
      const own = seen.filter((other) => blockOf(other) === blockOf(position));
      const keys = own.map((other) => positions.key(kvHead, other));
      const values = own.map((other) => positions.value(kvHead, other));
      // Every other block that is seen at all: in a causal sequence those before, all of them complete.
      for (const block of new Set(seen.map(blockOf))) {
        if (block === blockOf(position)) continue;
        const members = seen.filter((other) => blockOf(other) === block);
        for (let r = 0; r < config.rows; r++) {
          const [key, value] = [new Float64Array(headDim), new Float64Array(width)];
          for (const other of members) {
            const column = r * config.block + (positions.depths[other] % config.block);
            addScaled(key, input.projections?.keys?.[column] ?? 0, positions.key(kvHead, other));
            addScaled(value, input.projections?.values?.[column] ?? 0, positions.value(kvHead, other));
          }
          keys.push(key);
          values.push(value);
        }
      }
      rowOf(out, head, position, length, width).set(readRows(positions, head, position, keys, values));
    }
  }
  return out;
}

/** What a position reads from rows by softmax, and its convolution: [e]. */
function readRows(
  positions: NaivePositions,
  head: number,
  position: number,
  keys: readonly Float64Array[],
  values: readonly Float64Array[],
): Float64Array {
  const mixed = new Float64Array(positions.valueDim);
  const weights = localRowKernels.softmax.weights(positions.query(head, position), keys);
  for (const [i, value] of values.entries()) addScaled(mixed, weights[i], value);
  positions.addConvolution(head, position, mixed);
  return mixed;
}
