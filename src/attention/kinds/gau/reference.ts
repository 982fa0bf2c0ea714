/** FLASH's attention as loops over positions and their past: the reference of the `gau` mixer. */
import { addScaled, dot, type ReferencePositions, softmaxOf, unit } from '../../reference.ts';
import { biasBucket, gauBiasTable, type GauMixer, scoreDivisors, unitGroup } from './config.ts';

/** erf by its Taylor series, and from 3 on as 1 − its continued fraction: good to 1e-14. */
function erf(x: number): number {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size > 3) {
    let fraction = 0;
    for (let k = 60; k >= 1; k--) fraction = k / 2 / (size + fraction);
    return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * (size + fraction)));
  }
  let term = x;
  let total = x;
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(total); k++) {
    term *= (-x * x) / k;
    total += term / (2 * k + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

type Weights = (scores: Float64Array) => Float64Array;

const weightsOf: Readonly<Record<NonNullable<GauMixer['local']>['kernel'], Weights>> = {
  laplace: (scores) => scores.map((score) => 0.5 * (1 + erf((score - Math.SQRT1_2) * Math.sqrt(2 * Math.PI)))),
  relu2: (scores) => scores.map((score) => Math.max(score, 0) ** 2),
  softmax: softmaxOf,
};

/**
 * [H,n,E]. Causal: the global branch is q·Σ kᵀv/G over earlier groups; for encoders q·Σ kᵀv/n over all tokens, where n is
 * the padded length.
 */
export function unitReference(config: GauMixer, positions: ReferencePositions): Float64Array {
  const { local, global, castling } = config;
  const { headWidth, keyLength } = positions;
  const { keyMask } = positions.input;
  const group = unitGroup(config);
  const causal = keyMask === undefined;
  const S = local !== null && global ? headWidth / 2 : headWidth;
  const divisors = scoreDivisors(config);
  const table = positions.parameter(gauBiasTable);
  const localPart = (row: Float64Array): Float64Array => row.subarray(0, S);
  const globalPart = (row: Float64Array): Float64Array => row.subarray(row.length - S);
  const groupOf = (position: number): number => positions.group(position, group);
  return positions.mapRows((head, position) => {
    const kvHead = positions.keyValueHead(head);
    const query = positions.query(head, position);
    const seen = positions.seen(position);
    let mixed = new Float64Array(positions.valueWidth);
    if (local !== null) {
      const same = seen.filter((j) => groupOf(j) === groupOf(position));
      const scores = Float64Array.from(same, (j) => {
        const bucket = biasBucket(positions.depths[position] - positions.depths[j], causal);
        const product = dot(localPart(query), localPart(positions.key(kvHead, j)));
        return product / divisors.product + (Math.sqrt(S) * table[bucket]) / divisors.bias;
      });
      const weights = weightsOf[local.kernel](scores);
      for (const [i, j] of same.entries()) addScaled(mixed, weights[i], positions.value(kvHead, j));
    }
    if (global) {
      const read = causal ? seen.filter((j) => groupOf(j) < groupOf(position)) : seen;
      for (const j of read) {
        const product = dot(globalPart(query), globalPart(positions.key(kvHead, j)));
        addScaled(mixed, product / (causal ? group : keyLength), positions.value(kvHead, j));
      }
    }
    if (castling) {
      const own = keyMask?.[position] === 0 ? new Float64Array(mixed.length) : positions.value(kvHead, position);
      mixed = Float64Array.from(unit(mixed.map((x, i) => 0.5 * own[i] + x / Math.PI)));
    }
    positions.addConvolution(head, position, mixed);
    return mixed;
  });
}
