/**
 * Attention over all positions of a text: every query sees every key that is not padding. Queries are those of the same
 * text (an encoder) or of another (a decoder that reads what was encoded). What keys and values amount to is the
 * *memory* of the text; reading it is a second step, so that a decoder can compute it once and read it token by token.
 * For feature maps and Linformer its size does not depend on the length of the text.
 */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { collision } from '../graph/ops/collision.ts';
import { add, mul, sub } from '../graph/ops/elementwise.ts';
import { reshape, slice, transpose } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { softmax } from '../graph/ops/softmax.ts';
import { stopGradient, surrogateGradient } from '../graph/ops/surrogate-gradient.ts';
import { boundedLength } from './bounded-length.ts';
import { mapFeatures } from './features/feature-graph.ts';
import { normalizedSum, summedValues } from './features/feature-output.ts';
import { requireFittingLength } from './linformer.ts';
import type { FeaturesMixer, GauMixer, LinearMixer, LinformerMixer, MixerConfig } from './mixer.ts';
import type { MixerParameterValues, ProjectedPositions } from './mixer-values.ts';
import { hiddenScore } from './parallel.ts';

/** Mixers that can read a whole text. The grouped ones need positions in groups, and have forms of their own. */
export type CrossMixer = Exclude<MixerConfig, LinearMixer | GauMixer>;

/** A mixer as one of these. @throws LinnetError `INTERNAL` for one of the others, which the caller has forms for */
export function asCrossMixer(config: MixerConfig): CrossMixer {
  if (config.kind !== 'linear' && config.kind !== 'gau') return config;
  throw new LinnetError('INTERNAL', `internal: a mixer of kind ${config.kind} does not read a text as a whole`);
}

/** Keys and values [B,m,H,D] of a text and its mask [B,m]: 0 for padding. */
export interface CrossText {
  readonly k: Value;
  readonly v: Value;
  readonly mask: Value;
}

/**
 * What is kept of a text: `keys` and `values` [B,H,m,D] with `visible` [B,1,1,m]; of Linformer `keys` and `values` of r
 * rows; of feature maps `sums` [B,H,X,E], the sum of φ(k)ᵀv.
 */
export interface CrossMemory {
  readonly keys?: Value;
  readonly values?: Value;
  readonly visible?: Value;
  readonly sums?: Value;
}

export type CrossTensor = keyof CrossMemory;

/** Which tensors the memory of a mixer has. */
export const crossTensors: Readonly<Record<CrossMixer['kind'], readonly CrossTensor[]>> = {
  softmax: ['keys', 'values', 'visible'],
  yoso: ['keys', 'values', 'visible'],
  linformer: ['keys', 'values'],
  features: ['sums'],
};

/** How a memory is read by softmax and Linformer. */
export interface ScoreOptions {
  /** What scores are multiplied by. Default 1/√D. */
  readonly scale?: number;
  /** Added to the scores of softmax attention: broadcasts to [B,H,n,m]. */
  readonly bias?: Value;
}

const headsFirst = [0, 2, 1, 3]; // its own inverse

/**
 * The memory of a text.
 * @throws LinnetError `SHAPE` for a text longer than Linformer's projections
 */
export function crossMemory(config: CrossMixer, text: CrossText, parameters: MixerParameterValues): CrossMemory {
  const [B, m] = text.k.shape;
  const rows = reshape(text.mask, [B, 1, m, 1]);
  const keys = transpose(text.k, headsFirst); // [B,H,m,D]
  const values = transpose(text.v, headsFirst);
  if (config.kind === 'features') {
    const features = mapFeatures(config.map, keys, 'key', parameters['feature_map_k.weight']); // [B,H,m,X]
    return { sums: matmul(mul(features, rows), summedValues(config, values), { transposeA: true }) };
  }
  if (config.kind === 'linformer') {
    return {
      keys: projectedRows(config, mul(keys, rows), parameters['linformer_k.weight']),
      values: projectedRows(config, mul(values, rows), parameters['linformer_v.weight']),
    };
  }
  const kept = config.kind === 'yoso' ? unitLength(keys) : keys;
  return { keys: kept, values, visible: reshape(text.mask, [B, 1, 1, m]) };
}

/** [B,H,m,D] → [B,H,r,D] */
function projectedRows(config: LinformerMixer, x: Value, weights: Value | undefined): Value {
  const m = Number(x.shape[2]);
  requireFittingLength(config, m);
  return matmul(slice(required(weights), 1, 0, m), x);
}

/**
 * Reads a memory.
 *
 * @param q [B,n,H,D]
 * @returns [B,n,H,E], without a convolution
 */
export function readMemory(
  config: CrossMixer,
  q: Value,
  memory: CrossMemory,
  parameters: MixerParameterValues,
  options: ScoreOptions = {},
): Value {
  const queries = transpose(q, headsFirst); // [B,H,n,D]
  return transpose(readHeads(config, queries, memory, parameters, options), headsFirst);
}

/** [B,H,n,E] */
function readHeads(
  config: CrossMixer,
  queries: Value,
  { keys, values, visible, sums }: CrossMemory,
  parameters: MixerParameterValues,
  { scale = 1 / Math.sqrt(Number(queries.shape[3])), bias }: ScoreOptions,
): Value {
  if (config.kind === 'features') {
    const features = mapFeatures(config.map, queries, 'query', parameters['feature_map_q.weight']);
    return normalizedSum(config, matmul(features, required(sums)));
  }
  if (config.kind === 'yoso') {
    const weights = collision(matmul(unitLength(queries), required(keys), { transposeB: true }), config.bits);
    return boundedLength(matmul(mul(weights, required(visible)), required(values)));
  }
  let scores = matmul(mul(queries, scale), required(keys), { transposeB: true }); // [B,H,n,m]
  if (bias !== undefined) scores = add(scores, bias);
  if (visible !== undefined) scores = add(scores, mul(sub(visible, 1), -hiddenScore));
  return matmul(softmax(scores), required(values));
}

function required(value: Value | undefined): Value {
  if (value === undefined) throw new LinnetError('INTERNAL', 'internal: a memory or a mixer lacks a tensor');
  return value;
}

/** Memory and reading in one, as training needs it: the hashes of YOSO get the gradient of their expectation. */
export function mixCross(
  config: CrossMixer,
  q: Value,
  text: CrossText,
  parameters: MixerParameterValues,
  options: ScoreOptions = {},
): Value {
  if (config.kind !== 'features' || config.map.name !== 'hashes') {
    return readMemory(config, q, crossMemory(config, text, parameters), parameters, options);
  }
  const { sums } = crossMemory(config, text, parameters);
  const queries = transpose(q, headsFirst);
  const hashed = matmul(mapFeatures(config.map, queries, 'query'), required(sums));
  const expected = expectedSum(config, config.map.bits, { q, k: text.k, v: text.v }, text.mask);
  return transpose(normalizedSum(config, surrogateGradient(hashed, expected)), headsFirst);
}

/** What the hashed sum estimates, by collision probabilities; its gradient stands for that of the hashes. */
function expectedSum(config: FeaturesMixer, bits: number, { q, k, v }: ProjectedPositions, mask: Value): Value {
  const [B, m] = k.shape;
  const [queries, keys, values] = [q, k, v].map((x) => transpose(x, headsFirst));
  const weights = collision(matmul(unitLength(queries), unitLength(keys), { transposeB: true }), bits);
  const seen = mul(weights, reshape(mask, [B, 1, 1, m]));
  return matmul(seen, stopGradient(summedValues(config, values)));
}
