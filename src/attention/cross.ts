/**
 * Attention to a whole text in two steps, for decoders that read a text token by token: what its keys and values amount
 * to, its *memory*, is computed once and then read by every token. For feature maps and Linformer the size of the memory
 * does not depend on the length of the text. Both steps together are the bidirectional form of a mixer, without its
 * convolution.
 */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { collision } from '../graph/ops/collision.ts';
import { add, mul, sub } from '../graph/ops/elementwise.ts';
import { reshape, slice, transpose } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { softmax } from '../graph/ops/softmax.ts';
import { boundedLength } from './bounded-length.ts';
import { mapFeatures } from './features/feature-graph.ts';
import { normalizedSum, summedValues } from './features/feature-output.ts';
import { requireFittingLength } from './linformer/whole-linformer.ts';
import type { BlockLinformerMixer, GauMixer, LinearMixer, LinformerMixer, MixerConfig } from './mixer.ts';
import type { MixerParameterValues } from './mixer-values.ts';
import { hiddenScore } from './parallel.ts';

/** Mixers that can read a whole text. The grouped ones need positions in groups, and have forms of their own. */
export type CrossMixer = Exclude<MixerConfig, LinearMixer | GauMixer | BlockLinformerMixer>;

/** A mixer as one of these. @throws LinnetError `INTERNAL` for one of the others, which the caller has forms for */
export function asCrossMixer(config: MixerConfig): CrossMixer {
  if (config.kind !== 'linear' && config.kind !== 'gau' && config.kind !== 'block-linformer') return config;
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
