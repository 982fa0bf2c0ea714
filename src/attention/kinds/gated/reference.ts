/** Gated linear attention as loops over positions and those they read, nearest first. */
import { addScaled, dot, type ReferencePositions } from '../../reference.ts';
import { gainName, type GatedMixer, mapRow } from './config.ts';
import { referenceLogDecays } from './decay.ts';
import { normalizedRow } from '../features/output.ts';
import { mappedRows } from '../features/reference.ts';

/** o_t = Σ_j e^(Σ g_i)·⟨φ(q_t), φ(k_j)⟩·v_j with i from j + 1 to t, then normalized as configured: [H,n,E]. */
export function gatedReference({ map, decay, output }: GatedMixer, positions: ReferencePositions): Float64Array {
  const mapped = mappedRows(positions, (row, context) => mapRow(map, row, context));
  const allDecays = mapped.keys.map((_, kvHead) => referenceLogDecays(decay, positions, kvHead));
  return positions.mapRows((head, t) => {
    const kvHead = positions.keyValueHead(head);
    const [decays, keys, query] = [allDecays[kvHead], mapped.keys[kvHead], mapped.query(head, t)];
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
    const mixed = normalizedRow(output, sum, total).map((x) => gain * x);
    positions.addConvolution(head, t, mixed);
    return mixed;
  });
}

/** Positions read on one side, nearest first. */
interface Side {
  readonly read: readonly number[];
  /** Whether the position itself comes first. */
  readonly own: boolean;
  /** Whether the position itself decays those behind it. */
  readonly ownIsToken: boolean;
}

/** The past; for encoders, the tokens up to a position and those behind it. */
function sides(positions: ReferencePositions, t: number): readonly Side[] {
  const seen = positions.seen(t);
  if (positions.input.keyMask === undefined) return [{ read: seen, own: true, ownIsToken: true }];
  const ownIsToken = seen.includes(t);
  return [
    { read: seen.filter((j) => j <= t).reverse(), own: ownIsToken, ownIsToken },
    { read: seen.filter((j) => j > t), own: false, ownIsToken },
  ];
}
