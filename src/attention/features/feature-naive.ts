/** Linear attention through a feature map as loops over positions and their past, in float64: the oracle of that kind. */
import type { FeaturesMixer } from '../mixer.ts';
import { type NaiveInput, NaivePositions, rowOf } from '../naive-input.ts';
import { addScaled, dot, softUnit } from '../naive-rows.ts';
import { denominatorFloor, outputEpsilon } from './feature-config.ts';
import { featuresOfRow } from './feature-rows.ts';

/** What becomes of o = Σ weight·v, given Σ weight. */
const outputs: Readonly<
  Record<FeaturesMixer['output'], (sum: Float64Array, total: number, floor: number) => Float64Array>
> = {
  ratio: (sum, total, floor) => sum.map((x) => x / Math.max(total, floor)),
  rms: (sum) => sum.map((x) => x / Math.sqrt(dot(sum, sum) / sum.length + outputEpsilon)),
  unit: (sum) => softUnit.apply(sum),
};

/**
 * Mixes one sequence, or one tree of positions.
 * @returns [H,n,e]
 * @throws LinnetError `SHAPE` or `INPUT`, see `NaivePositions`.
 */
export function naiveFeatures(config: FeaturesMixer, input: NaiveInput): Float64Array {
  const positions = new NaivePositions(config, input);
  const { heads, length, headDim } = input.dims;
  const square = headDim * headDim;
  const out = new Float64Array(heads * length * positions.valueDim);
  for (let head = 0; head < heads; head++) {
    const kvHead = positions.keyValueHead(head);
    const queryMap = input.featureMaps?.queries?.subarray(head * square, (head + 1) * square);
    const keyMap = input.featureMaps?.keys?.subarray(kvHead * square, (kvHead + 1) * square);
    const keys = Array.from({ length: positions.keyLength }, (_, j) =>
      featuresOfRow(config.map, positions.key(kvHead, j), 'key', keyMap),
    );
    for (let position = 0; position < length; position++) {
      const query = featuresOfRow(config.map, positions.query(head, position), 'query', queryMap);
      const sum = new Float64Array(positions.valueDim);
      let total = 0;
      for (const j of positions.seen(position)) {
        const weight = dot(query, keys[j]);
        total += weight;
        addScaled(sum, weight, positions.value(kvHead, j));
      }
      const mixed = outputs[config.output](sum, total, denominatorFloor(config.map));
      positions.addConvolution(head, position, mixed);
      rowOf(out, head, position, length, positions.valueDim).set(mixed);
    }
  }
  return out;
}
