/**
 * The formula of `mixer.ts` as loops over heads, positions and their past, in float64: the oracle that every other
 * form is tested against. Written to be read and believed, not to be fast.
 *
 * Positions form a tree: `parents` gives the position before each one. What a position sees is its ancestors and
 * itself, its place in the sequence is its depth, and its group is ⌊depth/G⌋. A sequence is the chain; a committed
 * prefix with a candidate tree behind it is one bigger tree. With a mask of keys the text is an encoder's instead, and a
 * position sees all tokens (`bidirectional.ts`).
 */
import { LinnetError } from '../errors.ts';
import { naiveFeatures } from './features/feature-naive.ts';
import { naiveUnit } from './gau/gau-naive.ts';
import { type LinearMixer, linearForm, type MixerConfig } from './mixer.ts';
import { type NaiveInput, NaivePositions, rowOf, type TapRead } from './naive-input.ts';
import { naiveBlockLinformer, naiveLinformer } from './linformer/naive-linformer.ts';
import { addScaled, globalRowKernel, localRowKernel, softUnit, unit } from './naive-rows.ts';

export { type NaiveInput, rowOf } from './naive-input.ts';

/** The positions that one position reads, by branch. */
export interface NaiveReads {
  /** Ancestors-or-self in the own group; of an encoder's text, tokens of the own group. */
  readonly same: readonly number[];
  /** Ancestors in earlier groups; of an encoder's text, tokens of other groups, or all without a local branch. */
  readonly outside: readonly number[];
  /** What each live tap of the convolution reads. */
  readonly taps: readonly TapRead[];
}

/** A checked input, with views of its rows and the past of every position. */
export interface NaiveProblem {
  readonly config: LinearMixer;
  readonly input: NaiveInput;
  readonly alpha: number;
  readonly lambda: number;
  readonly positions: NaivePositions;
  readonly reads: readonly NaiveReads[];
}

/** The intermediate results of one position of one head, which the gradients need again. */
export interface NaiveRow {
  readonly localWeights: Float64Array;
  readonly globalWeights: Float64Array;
  readonly local: Float64Array;
  readonly global: Float64Array;
  /** `global`, normalized where the configuration says so. */
  readonly scaledGlobal: Float64Array;
  /** λ·local + α·scaledGlobal. */
  readonly sum: Float64Array;
  /** ½v + o/π, where o is the (normalized) sum; only with castling. */
  readonly castled: Float64Array | null;
  readonly out: Float64Array;
}

function requireNumber(name: string, value: number | undefined): number {
  if (value !== undefined) return value;
  throw new LinnetError('INPUT', `the mixer has a learned ${name}, so its value must be given`);
}

/**
 * Checks an input against a configuration and finds what every position reads.
 * @throws LinnetError `SHAPE` or `INPUT` as `NaivePositions`, `INPUT` for a missing factor too; `CONFIG` for a mixer
 *   without such branches.
 */
export function naiveProblem(mixer: MixerConfig, input: NaiveInput): NaiveProblem {
  if (
    mixer.kind === 'features' ||
    mixer.kind === 'linformer' ||
    mixer.kind === 'block-linformer' ||
    mixer.kind === 'gau'
  ) {
    throw new LinnetError('CONFIG', `a mixer of kind '${mixer.kind}' is not of the linear form`);
  }
  const config = linearForm(mixer);
  const positions = new NaivePositions(mixer, input);
  // In cross attention all is one group.
  const groupOf = (position: number): number => Math.floor((positions.depths[position] ?? 0) / config.group);
  const ungrouped = input.keyMask !== undefined && config.local === null;
  const reads = Array.from(positions.depths, (_, position): NaiveReads => {
    const seen = positions.seen(position);
    const own = (other: number): boolean => groupOf(other) === groupOf(position);
    return {
      same: seen.filter(own),
      outside: ungrouped ? seen : seen.filter((other) => !own(other)),
      taps: positions.taps(position),
    };
  });
  return {
    config,
    input,
    alpha: config.global?.scale === 'learned' ? requireNumber('α', input.alpha) : 1,
    lambda: config.local?.scale === 'learned' ? requireNumber('λ', input.lambda) : 1,
    positions,
    reads,
  };
}

function weightedSum(weights: Float64Array, rows: readonly Float64Array[], width: number): Float64Array {
  const sum = new Float64Array(width);
  for (const [j, row] of rows.entries()) addScaled(sum, weights[j], row);
  return sum;
}

/** One position of one head: the formula, step by step. */
export function naiveRow(problem: NaiveProblem, head: number, position: number): NaiveRow {
  const { config, alpha, lambda, positions } = problem;
  const { taps, keyMask } = problem.input;
  const { valueDim } = positions;
  const kvHead = positions.keyValueHead(head);
  const { same, outside, taps: reads } = problem.reads[position];
  const query = positions.query(head, position);
  const key = (j: number): Float64Array => positions.key(kvHead, j);
  const value = (j: number): Float64Array => positions.value(kvHead, j);
  const nothing = new Float64Array(0);

  const localWeights = config.local === null ? nothing : localRowKernel(config.local).weights(query, same.map(key));
  const local = weightedSum(localWeights, config.local === null ? [] : same.map(value), valueDim);
  const globalWeights = config.global === null ? nothing : globalRowKernel.weights(query, outside.map(key));
  const global = weightedSum(globalWeights, config.global === null ? [] : outside.map(value), valueDim);

  const scaledGlobal = config.normalize === 'global' ? softUnit.apply(global) : global;
  const sum = local.map((x, i) => lambda * x + alpha * scaledGlobal[i]);
  const attention = config.normalize === 'together' ? softUnit.apply(sum) : sum;
  const own = keyMask?.[position] === 0 ? new Float64Array(valueDim) : value(position);
  const castled = config.castling ? attention.map((x, i) => 0.5 * own[i] + x / Math.PI) : null;
  const out = castled === null ? attention.slice() : unit.apply(castled);
  if (config.convolution !== null && taps !== undefined) {
    for (const read of reads) addScaled(out, taps[head * config.convolution.kernel + read.tap], value(read.position));
  }
  return { localWeights, globalWeights, local, global, scaledGlobal, sum, castled, out };
}

/**
 * Mixes one sequence, or one tree of positions.
 * @returns [H,n,e]
 * @throws LinnetError `SHAPE` or `INPUT`, see `naiveProblem`.
 */
export function naiveMixer(config: MixerConfig, input: NaiveInput): Float64Array {
  if (config.kind === 'features') return naiveFeatures(config, input);
  if (config.kind === 'linformer') return naiveLinformer(config, input);
  if (config.kind === 'gau') return naiveUnit(config, input);
  if (config.kind === 'block-linformer') return naiveBlockLinformer(config, input);
  const problem = naiveProblem(config, input);
  const { heads, length } = input.dims;
  const { valueDim } = problem.positions;
  const out = new Float64Array(heads * length * valueDim);
  for (let head = 0; head < heads; head++) {
    for (let position = 0; position < length; position++) {
      rowOf(out, head, position, length, valueDim).set(naiveRow(problem, head, position).out);
    }
  }
  return out;
}
