/**
 * Gated DeltaNet as Qwen3-Next and Qwen3.5 publish it (arXiv 2412.06464): queries, keys and values go through short filters
 * and SiLU, queries and keys have unit length, and the gated delta rule has g = −e^A·softplus(a + dt) and β = σ(b), or
 * 2σ(b) in OLMo-Hybrid, where a and b are projections. A position's query row is [q, b], its key row [k, a].
 */
import type { MixerKind } from '../../mixer.ts';
import { dot, type ReferencePositions } from '../../reference.ts';
import { deltaReference } from '../gated-delta/reference.ts';
import { softplusOf } from '../gated/decay.ts';
import {
  decayBiasName,
  type DeltaNetMixer,
  deltaNetParameters,
  deltaNetSchema,
  filterNames,
  lengthEpsilon,
  rateName,
} from './config.ts';
import { deltaNetParallel, deltaNetRecurrent } from './forms.ts';

function deltaNetReference(config: DeltaNetMixer, positions: ReferencePositions): Float64Array {
  const { heads, keyHeads, keyWidth: D, valueWidth: E, kernel, doubled } = config;
  const filter = filterNames(config).flatMap((name) => Array.from(positions.parameter(name)));
  const [rates, biases] = [rateName, decayBiasName].map((name) => positions.parameter(name));
  const sigma = (x: number): number => 1 / (1 + Math.exp(-x));
  /** `width` channels of a row, starting at filter `first`. */
  const convolved = (row: (at: number) => Float64Array, width: number, first: number, t: number): Float64Array => {
    const past = positions.lineage(t).slice(0, kernel).map(row);
    return Float64Array.from({ length: width }, (_, i) => {
      const end = (first + i + 1) * kernel - 1;
      const x = past.reduce((total, own, back) => total + filter[end - back] * own[i], 0);
      return x * sigma(x);
    });
  };
  const keyHead = (head: number): number => Math.floor((head * keyHeads) / heads);
  const sized = (row: Float64Array, size: number): Float64Array =>
    row.map((x) => (size * x) / Math.sqrt(dot(row, row) + lengthEpsilon));
  const mixed = deltaReference(positions, {
    query(head, t) {
      const row = convolved((at) => positions.query(head, at), D, keyHead(head) * D, t);
      return sized(row, 1 / Math.sqrt(D));
    },
    key: (head, t) =>
      sized(
        convolved((at) => positions.key(head, at), D, (keyHeads + keyHead(head)) * D, t),
        1,
      ),
    value: (head, t) => convolved((at) => positions.value(head, at), E, 2 * keyHeads * D + head * E, t),
    logDecay: (head, t) => -Math.exp(rates[head]) * softplusOf(positions.key(head, t)[D] + biases[head]),
    gate: (head, t) => (doubled === true ? 2 : 1) * sigma(positions.query(head, t)[D]),
  });
  return positions.mapRows(mixed);
}

export const deltaNetKind = {
  kind: 'delta-net',
  family: 'qwen3_5',
  ownDims: ({ heads, keyWidth, valueWidth }) => ({
    heads,
    keyValueHeads: heads,
    headWidth: keyWidth,
    valueWidth,
  }),
  schema: deltaNetSchema,
  describe: ({ heads, keyWidth, valueWidth, kernel }) =>
    `gated delta net of ${heads} states ${keyWidth}×${valueWidth}, filters of ${kernel}`,
  parameters: deltaNetParameters,
  rowWidth: (_, headWidth) => headWidth + 1,
  reference: deltaNetReference,
  parallel: deltaNetParallel,
  recurrent: deltaNetRecurrent,
  presets: {},
} satisfies MixerKind<DeltaNetMixer>;
