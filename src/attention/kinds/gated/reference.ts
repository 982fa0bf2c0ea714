/** Gated linear attention as loops over positions and the positions they read, nearest first. */
import { addScaled, dot, type ReferencePositions } from '../../reference.ts';
import { keyMapName, queryMapName } from '../features/maps.ts';
import { gainName, type GatedMixer, mapRow } from './config.ts';
import { referenceLogDecays } from './decay.ts';
import { referenceOutputs } from './output.ts';

/** o_t = Σ_j e^(Σ g_i)·⟨φ(q_t), φ(k_j)⟩·v_j with i from j + 1 to t, normalized as it is configured: [H,n,E]. */
export function gatedReference({ map, decay, output }: GatedMixer, positions: ReferencePositions): Float64Array {
  const { headWidth, scale } = positions;
  const square = headWidth * headWidth;
  const ofHead = (name: string, head: number): Float64Array =>
    positions.parameter(name).subarray(head * square, (head + 1) * square);
  const heads = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) => ({
    decays: referenceLogDecays(decay, positions, kvHead),
    keys: Array.from({ length: positions.keyLength }, (__, j) =>
      mapRow(map, positions.key(kvHead, j), { side: 'key', scale, weight: ofHead(keyMapName, kvHead) }),
    ),
  }));
  return positions.mapRows((head, t) => {
    const kvHead = positions.keyValueHead(head);
    const { decays, keys } = heads[kvHead];
    const weight = ofHead(queryMapName, head);
    const query = mapRow(map, positions.query(head, t), { side: 'query', scale, weight });
    const sum = new Float64Array(positions.valueWidth);
    let total = 0;
    for (const side of sides(positions, t)) {
      let exponent = side.own ? 0 : (decays[t] ?? 0) * (side.ownIsToken ? 1 : 0);
      for (const j of side.read) {
        const product = Math.exp(exponent) * dot(query, keys[j]);
        total += product;
        addScaled(sum, product, positions.value(kvHead, j));
        exponent += decays[j];
      }
    }
    const gain = output === 'ratio' ? 1 : positions.parameter(gainName)[head];
    const mixed = referenceOutputs[output](sum, total).map((x) => gain * x);
    positions.addConvolution(head, t, mixed);
    return mixed;
  });
}

/** Positions that are read, nearest first, on one side. */
interface Side {
  readonly read: readonly number[];
  /** Whether the position itself is the first. */
  readonly own: boolean;
  /** Whether the position itself decays the positions behind it. */
  readonly ownIsToken: boolean;
}

/** The past; of an encoder's text, the tokens up to a position, and the tokens behind it. */
function sides(positions: ReferencePositions, t: number): readonly Side[] {
  const seen = positions.seen(t);
  if (positions.input.keyMask === undefined) return [{ read: seen, own: true, ownIsToken: true }];
  const ownIsToken = seen.includes(t);
  return [
    { read: seen.filter((j) => j <= t).reverse(), own: ownIsToken, ownIsToken },
    { read: seen.filter((j) => j > t), own: false, ownIsToken },
  ];
}
