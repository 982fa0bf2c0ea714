/**
 * The formula of `mixer.ts` as loops over heads, positions and their past, in float64: the oracle that every other
 * form is tested against. Written to be read and believed, not to be fast.
 *
 * Positions form a tree: `parents` gives the position before each one. What a position sees is its ancestors and
 * itself, its place in the sequence is its depth, and its group is ⌊depth/G⌋. A sequence is the chain; a committed
 * prefix with a candidate tree behind it is one bigger tree.
 */
import { LinnetError } from '../errors.ts';
import type { HeadCounts, LinearMixer, MixerConfig } from './mixer.ts';
import { convolutionReach } from './mixer.ts';
import { addScaled, globalRowKernel, localRowKernels, softUnit, unit } from './naive-rows.ts';

/** Sizes of one sequence of one layer. */
export interface NaiveDims extends HeadCounts {
  /** n: number of positions. */
  readonly length: number;
  /** d: width of a query or key row. */
  readonly headDim: number;
  /** e: width of a value row; default d. */
  readonly valueDim?: number;
}

/** What is mixed. Arrays are row-major. */
export interface NaiveInput {
  readonly dims: NaiveDims;
  /** Queries [H,n,d], raw: with their rotary position, not normalized. */
  readonly q: Float64Array;
  /** Keys [Hkv,n,d], raw. Query head h reads key-value head ⌊h/(H/Hkv)⌋. */
  readonly k: Float64Array;
  /** Values [Hkv,n,e]. */
  readonly v: Float64Array;
  /** α; needed when the global scale is learned. */
  readonly alpha?: number;
  /** λ; needed when the local scale is learned. */
  readonly lambda?: number;
  /** Convolution filters [H,K]; tap P−τ weighs lag τ. Needed with a convolution. */
  readonly taps?: Float64Array;
  /** Parent of every position [n]; −1 for the first. Default: the chain −1, 0, 1, … */
  readonly parents?: Int32Array;
}

/** The positions that one position reads, by branch. */
export interface NaivePast {
  /** Ancestors-or-self in the own group. */
  readonly same: readonly number[];
  /** Ancestors in earlier groups. */
  readonly earlier: readonly number[];
  /** What each live tap of the convolution reads. */
  readonly taps: readonly { readonly tap: number; readonly position: number }[];
}

/** A checked input, with views of its rows and the past of every position. */
export interface NaiveProblem {
  readonly config: LinearMixer;
  readonly input: NaiveInput;
  readonly alpha: number;
  readonly lambda: number;
  readonly valueDim: number;
  /** The key-value head of a query head. */
  keyValueHead(head: number): number;
  readonly past: readonly NaivePast[];
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

/** Softmax attention is the linear kind with one softmax group that never ends. */
function asLinear(config: MixerConfig): LinearMixer {
  if (config.kind === 'linear') return config;
  return {
    kind: 'linear',
    group: Number.POSITIVE_INFINITY,
    local: { kernel: 'softmax', scale: 'none' },
    global: null,
    convolution: null,
    normalize: null,
    castling: false,
  };
}

/** A view of row `row` of head `head` of an array [heads, length, width]. */
export function rowOf(array: Float64Array, head: number, row: number, length: number, width: number): Float64Array {
  const start = (head * length + row) * width;
  return array.subarray(start, start + width);
}

function requireLength(name: string, array: Float64Array | undefined, shape: readonly number[]): void {
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (array?.length === count) return;
  throw new LinnetError(
    'SHAPE',
    `${name} must hold [${shape.join(',')}] = ${count} numbers, got ${array?.length ?? 'none'}`,
  );
}

function requireNumber(name: string, value: number | undefined): number {
  if (value !== undefined) return value;
  throw new LinnetError('INPUT', `the mixer has a learned ${name}, so its value must be given`);
}

/** The positions from `position` back to its root, itself first. */
function ancestorsOrSelf(parents: Int32Array, position: number): number[] {
  const found: number[] = [];
  for (let at = position; at >= 0; at = parents[at]) found.push(at);
  return found;
}

/** Depths, after checking that every parent comes earlier. */
function depthsOf(parents: Int32Array): Int32Array {
  const depths = new Int32Array(parents.length);
  for (const [position, parent] of parents.entries()) {
    if (parent < -1 || parent >= position) {
      throw new LinnetError('INPUT', `position ${position} has parent ${parent}; expected -1 or an earlier position`);
    }
    if (parent >= 0) depths[position] = depths[parent] + 1;
  }
  return depths;
}

function tapsOf(config: LinearMixer, lineage: readonly number[], position: number, length: number): NaivePast['taps'] {
  if (config.convolution === null) return [];
  const { kernel, masked } = config.convolution;
  const reach = convolutionReach(kernel);
  // The past: lag τ is the τ-th ancestor.
  const taps = lineage.slice(0, reach + 1).map((ancestor, lag) => ({ tap: reach - lag, position: ancestor }));
  if (masked) return taps;
  for (let tap = reach + 1; tap < kernel && position + tap - reach < length; tap++) {
    taps.push({ tap, position: position + tap - reach });
  }
  return taps;
}

/**
 * Checks an input against a configuration and finds what every position reads.
 * @throws LinnetError `SHAPE` for arrays of the wrong length; `INPUT` for a missing factor, parents out of order, or an
 *   unmasked convolution over a tree with branches, where "the next position" means nothing.
 */
export function naiveProblem(mixer: MixerConfig, input: NaiveInput): NaiveProblem {
  const config = asLinear(mixer);
  const { heads, keyValueHeads, length, headDim, valueDim = headDim } = input.dims;
  if (heads % keyValueHeads !== 0) {
    throw new LinnetError('SHAPE', `${heads} query heads cannot share ${keyValueHeads} key-value heads evenly`);
  }
  requireLength('q', input.q, [heads, length, headDim]);
  requireLength('k', input.k, [keyValueHeads, length, headDim]);
  requireLength('v', input.v, [keyValueHeads, length, valueDim]);
  if (config.convolution !== null) requireLength('taps', input.taps, [heads, config.convolution.kernel]);
  const parents = input.parents ?? Int32Array.from({ length }, (_, position) => position - 1);
  if (parents.length !== length) {
    throw new LinnetError('SHAPE', `${parents.length} parents were given for ${length} positions`);
  }
  if (config.convolution?.masked === false && parents.some((parent, position) => parent !== position - 1)) {
    throw new LinnetError('INPUT', 'an unmasked convolution reads the next positions, which only a chain has');
  }
  const depths = depthsOf(parents);
  const groupOf = (position: number): number => Math.floor(depths[position] / config.group);
  const past = Array.from(parents, (_, position): NaivePast => {
    const lineage = ancestorsOrSelf(parents, position);
    return {
      same: lineage.filter((ancestor) => groupOf(ancestor) === groupOf(position)),
      earlier: lineage.filter((ancestor) => groupOf(ancestor) < groupOf(position)),
      taps: tapsOf(config, lineage, position, length),
    };
  });
  return {
    config,
    input,
    alpha: config.global?.scale === 'learned' ? requireNumber('α', input.alpha) : 1,
    lambda: config.local?.scale === 'learned' ? requireNumber('λ', input.lambda) : 1,
    valueDim,
    keyValueHead: (head) => Math.floor(head / (heads / keyValueHeads)),
    past,
  };
}

function weightedSum(weights: Float64Array, rows: readonly Float64Array[], width: number): Float64Array {
  const sum = new Float64Array(width);
  for (const [j, row] of rows.entries()) addScaled(sum, weights[j], row);
  return sum;
}

/** One position of one head: the formula, step by step. */
export function naiveRow(problem: NaiveProblem, head: number, position: number): NaiveRow {
  const { config, alpha, lambda, valueDim } = problem;
  const { q, k, v, taps } = problem.input;
  const { length, headDim } = problem.input.dims;
  const kvHead = problem.keyValueHead(head);
  const { same, earlier, taps: reads } = problem.past[position];
  const query = rowOf(q, head, position, length, headDim);
  const key = (j: number): Float64Array => rowOf(k, kvHead, j, length, headDim);
  const value = (j: number): Float64Array => rowOf(v, kvHead, j, length, valueDim);
  const nothing = new Float64Array(0);

  const localWeights =
    config.local === null ? nothing : localRowKernels[config.local.kernel].weights(query, same.map(key));
  const local = weightedSum(localWeights, config.local === null ? [] : same.map(value), valueDim);
  const globalWeights = config.global === null ? nothing : globalRowKernel.weights(query, earlier.map(key));
  const global = weightedSum(globalWeights, config.global === null ? [] : earlier.map(value), valueDim);

  const scaledGlobal = config.normalize === 'global' ? softUnit.apply(global) : global;
  const sum = local.map((x, i) => lambda * x + alpha * scaledGlobal[i]);
  const attention = config.normalize === 'together' ? softUnit.apply(sum) : sum;
  const own = value(position);
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
  const problem = naiveProblem(config, input);
  const { heads, length } = input.dims;
  const out = new Float64Array(heads * length * problem.valueDim);
  for (let head = 0; head < heads; head++) {
    for (let position = 0; position < length; position++) {
      rowOf(out, head, position, length, problem.valueDim).set(naiveRow(problem, head, position).out);
    }
  }
  return out;
}
