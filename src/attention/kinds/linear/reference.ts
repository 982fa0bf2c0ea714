/** The linear kind's reference (formula in `mixer.ts`): loops, branch by branch. */
import {
  collisionKernel,
  cosineKernel,
  normalizedKernel,
  type ReferencePositions,
  reluSquaredKernel,
  reluSquaredScoreKernel,
  type RowKernel,
  softmaxKernel,
  softUnit,
  unit,
  weightedSum,
} from '../../reference.ts';
import { weightFloor } from '../../normalization.ts';
import { collisionBits, fadeOf, type LinearMixer, type LocalKernel } from './config.ts';

/** The branches over checked positions, with their factors' values. */
export interface LinearProblem {
  readonly config: LinearMixer;
  readonly positions: ReferencePositions;
  readonly alpha: number;
  readonly lambda: number;
}

export function linearProblem(config: LinearMixer, positions: ReferencePositions): LinearProblem {
  return {
    config,
    positions,
    alpha: config.global?.scale === 'learned' ? positions.parameter('global_factor')[0] : 1,
    lambda: config.local?.scale === 'learned' ? positions.parameter('local_factor')[0] : 1,
  };
}

/** The local branch's kernel. @param scale of the scores, for kernels that read raw q and k */
export function localRowKernel(
  { kernel, bits }: NonNullable<LinearMixer['local']>,
  normalize: LinearMixer['normalize'],
  scale: number,
): RowKernel {
  const kernels: Readonly<Record<LocalKernel, () => RowKernel>> = {
    relu2: () => reluSquaredKernel,
    'relu2-raw': () => reluSquaredScoreKernel(scale),
    softmax: () => softmaxKernel(scale),
    yoso: () => collisionKernel(collisionBits({ bits })),
  };
  const own = kernels[kernel]();
  return normalize === 'local' ? normalizedKernel(own, weightFloor) : own;
}

/** The positions that one position reads. */
export interface LinearReads {
  /** Ancestors-or-self in the current group; for encoders, tokens of the current group. */
  readonly same: readonly number[];
  /** Ancestors in earlier groups; for encoders, tokens of other groups, or all without a local branch. */
  readonly outside: readonly number[];
}

export function linearReads({ config, positions }: LinearProblem, position: number): LinearReads {
  const seen = positions.seen(position);
  const own = (other: number): boolean =>
    positions.group(other, config.group) === positions.group(position, config.group);
  const ungrouped = positions.input.keyMask !== undefined && config.local === null;
  return { same: seen.filter(own), outside: ungrouped ? seen : seen.filter((other) => !own(other)) };
}

/** Factors on the global branch's terms at the positions `outside`. */
export function globalFades(
  { config, positions }: LinearProblem,
  position: number,
  outside: readonly number[],
): Float64Array {
  const group = (other: number): number => positions.group(other, config.group);
  const isGrouped = positions.input.keyMask === undefined || config.local !== null;
  return Float64Array.from(outside, (other) =>
    isGrouped ? fadeOf(config) ** (Math.abs(group(position) - group(other)) - 1) : 1,
  );
}

/** One head's intermediate results at one position, which the gradients reuse. */
export interface LinearRow {
  readonly localWeights: Float64Array;
  readonly globalWeights: Float64Array;
  readonly local: Float64Array;
  readonly global: Float64Array;
  /** `global`, normalized if so configured. */
  readonly scaledGlobal: Float64Array;
  /** λ·local + α·scaledGlobal. */
  readonly sum: Float64Array;
  /** ½v + o/π, where o is the (normalized) sum; null without castling. */
  readonly castled: Float64Array | null;
  readonly out: Float64Array;
}

/** One head at one position: the formula, step by step. */
export function linearRow(problem: LinearProblem, head: number, position: number): LinearRow {
  const { config, alpha, lambda, positions } = problem;
  const { valueWidth } = positions;
  const kvHead = positions.keyValueHead(head);
  const { same, outside } = linearReads(problem, position);
  const query = positions.query(head, position);
  const key = (j: number): Float64Array => positions.key(kvHead, j);
  const value = (j: number): Float64Array => positions.value(kvHead, j);
  const nothing = new Float64Array(0);

  const localWeights =
    config.local === null
      ? nothing
      : localRowKernel(config.local, config.normalize, positions.scale)(query, same.map(key));
  const local = weightedSum(localWeights, config.local === null ? [] : same.map(value), valueWidth);
  const fades = globalFades(problem, position, outside);
  const globalWeights =
    config.global === null ? nothing : cosineKernel(query, outside.map(key)).map((cosine, i) => fades[i] * cosine);
  const global = weightedSum(globalWeights, config.global === null ? [] : outside.map(value), valueWidth);

  const scaledGlobal = config.normalize === 'global' ? softUnit(global) : global;
  const sum = local.map((x, i) => lambda * x + alpha * scaledGlobal[i]);
  const attention = config.normalize === 'together' ? softUnit(sum) : sum;
  const own = positions.input.keyMask?.[position] === 0 ? new Float64Array(valueWidth) : value(position);
  const castled = config.castling ? attention.map((x, i) => 0.5 * own[i] + x / Math.PI) : null;
  const out = castled === null ? attention.slice() : unit(castled);
  positions.addConvolution(head, position, out);
  return { localWeights, globalWeights, local, global, scaledGlobal, sum, castled, out };
}

/** The linear kind over checked positions: [H,n,E]. */
export function linearReference(config: LinearMixer, positions: ReferencePositions): Float64Array {
  const problem = linearProblem(config, positions);
  return positions.mapRows((head, position) => linearRow(problem, head, position).out);
}
