/** Linear attention through a feature map as loops over positions and their past. */
import type { ReferencePositions } from '../../reference.ts';
import { addScaled, dot, softUnit } from '../../reference-rows.ts';
import type { FeaturesMixer } from './config.ts';
import { featuresOfRow } from './map-rows.ts';
import { denominatorFloor, keyMapName, queryMapName } from './maps.ts';
import { outputEpsilon } from './output.ts';

/** Normalizations of o = Σ weight·v, given Σ weight. */
const outputs: Readonly<
  Record<FeaturesMixer['output'], (sum: Float64Array, total: number, floor: number) => Float64Array>
> = {
  ratio: (sum, total, floor) => sum.map((x) => x / Math.max(total, floor)),
  rms: (sum) => sum.map((x) => x / Math.sqrt(dot(sum, sum) / sum.length + outputEpsilon)),
  unit: (sum) => softUnit(sum),
};

/** [H,n,E] */
export function featuresReference({ map, output }: FeaturesMixer, positions: ReferencePositions): Float64Array {
  const { headWidth, scale } = positions;
  const square = headWidth * headWidth;
  const ofHead = (name: string, head: number): Float64Array =>
    positions.parameter(name).subarray(head * square, (head + 1) * square);
  const keysOf = (kvHead: number): Float64Array[] =>
    Array.from({ length: positions.keyLength }, (_, j) =>
      featuresOfRow(map, positions.key(kvHead, j), { side: 'key', scale, weight: ofHead(keyMapName, kvHead) }),
    );
  const keys = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) => keysOf(kvHead));
  return positions.mapRows((head, position) => {
    const kvHead = positions.keyValueHead(head);
    const weight = ofHead(queryMapName, head);
    const query = featuresOfRow(map, positions.query(head, position), { side: 'query', scale, weight });
    const sum = new Float64Array(positions.valueWidth);
    let total = 0;
    for (const j of positions.seen(position)) {
      const product = dot(query, keys[kvHead][j]);
      total += product;
      addScaled(sum, product, positions.value(kvHead, j));
    }
    const mixed = outputs[output](sum, total, denominatorFloor(map));
    positions.addConvolution(head, position, mixed);
    return mixed;
  });
}
