/** FLASH's attention as loops over positions and their past, in float64: the oracle of the `gau` mixer. */
import type { GauMixer } from '../mixer.ts';
import { type NaiveInput, NaivePositions, rowOf } from '../naive-input.ts';
import { addScaled, dot, unit } from '../naive-rows.ts';
import { biasBucket } from './bias-buckets.ts';

/** erf by its Taylor series, and 1 − its continued fraction from 3 on: good to 1e-14. */
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
  softmax(scores) {
    const powers = scores.map((score) => Math.exp(score - Math.max(...scores)));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  },
};

/**
 * Mixes one sequence, or one tree of positions.
 * @returns [H,n,e]
 * @throws LinnetError `SHAPE` or `INPUT`, see `NaivePositions`
 */
export function naiveUnit(config: GauMixer, input: NaiveInput): Float64Array {
  const positions = new NaivePositions(config, input);
  const { local, global, castling } = config;
  const group = config.group ?? Number.POSITIVE_INFINITY;
  const { heads, length, headDim } = input.dims;
  const S = local !== null && global ? headDim / 2 : headDim;
  const localPart = (row: Float64Array): Float64Array => row.subarray(0, S);
  const globalPart = (row: Float64Array): Float64Array => row.subarray(row.length - S);
  const groupOf = (position: number): number => Math.floor(positions.depths[position] / group);
  const out = new Float64Array(heads * length * positions.valueDim);
  for (let head = 0; head < heads; head++) {
    const kvHead = positions.keyValueHead(head);
    for (let position = 0; position < length; position++) {
      const query = positions.query(head, position);
      const lineage = positions.lineage(position);
      let mixed = new Float64Array(positions.valueDim);
      if (local !== null) {
        const same = lineage.filter((j) => groupOf(j) === groupOf(position));
        const scores = Float64Array.from(same, (j) => {
          const bucket = biasBucket(positions.depths[position] - positions.depths[j], true);
          const bias = Math.sqrt(S) * (input.biases?.[bucket] ?? 0);
          const product = dot(localPart(query), localPart(positions.key(kvHead, j)));
          return product / (local.divisor ?? group) + bias / local.biasDivisor;
        });
        const weights = weightsOf[local.kernel](scores);
        for (const [i, j] of same.entries()) addScaled(mixed, weights[i], positions.value(kvHead, j));
      }
      if (global) {
        for (const j of lineage.filter((ancestor) => groupOf(ancestor) < groupOf(position))) {
          const product = dot(globalPart(query), globalPart(positions.key(kvHead, j)));
          addScaled(mixed, product / group, positions.value(kvHead, j));
        }
      }
      if (castling) {
        const own = positions.value(kvHead, position);
        mixed = Float64Array.from(unit.apply(mixed.map((x, i) => 0.5 * own[i] + x / Math.PI)));
      }
      positions.addConvolution(head, position, mixed);
      rowOf(out, head, position, length, positions.valueDim).set(mixed);
    }
  }
  return out;
}
