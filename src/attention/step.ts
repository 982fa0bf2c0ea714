/**
 * The step form of a mixer: the nodes of a token tree on top of a committed prefix of any length, with a state of
 * constant size. Plain decoding is a tree of one node, a prompt chunk is a chain, verification is a tree.
 *
 * What a node sees are two blocks of rows: the ring (the last C committed positions) and the tree's own rows. Two masks
 * per block say which rows are ancestors in the node's group and which are ancestors in earlier groups that are not
 * yet folded into S; lags say which convolution tap a row meets. Groups that closed within the prefix are in S. So
 *
 *     o_a = Σ_rows [ same·max(q̂_a·k̂_j, 0)² + α·earlier·(q̂_a·k̂_j) + w[lag] ]·v_j + α·q̂_a S
 *
 * which is exact for trees that straddle group boundaries (the reference code drops the group that has just closed).
 */
import { LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { collision } from '../graph/ops/collision.ts';
import { add, addAll, div, maximum, mul, sub } from '../graph/ops/elementwise.ts';
import { transpose } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { max, sum } from '../graph/ops/reduce.ts';
import { maskedReluSquared } from '../graph/ops/relu-squared.ts';
import { exp } from '../graph/ops/unary.ts';
import { boundedLength } from './bounded-length.ts';
import { featuresStep } from './features/feature-step.ts';
import { gauStep } from './gau/gau-step.ts';
import { HeadLayout } from './head-layout.ts';
import { blockLinformerStep } from './linformer/block-linformer-step.ts';
import { hiddenScore } from './sight.ts';
import { horizonOf } from './masks.ts';
import {
  collisionBits,
  describeMixer,
  type GauMixer,
  isCausal,
  type LinearMixer,
  linearForm,
  type LinformerMixer,
  type LocalKernel,
  type MixerConfig,
} from './mixer.ts';
import { type MixerParameterValues, type ProjectedPositions, requireMixerParameters } from './mixer-values.ts';
import { castle } from './parallel.ts';
import {
  type Block,
  convolutionWeights,
  joinBlocks,
  type ProjectedMemory,
  type StepMasks,
  type StepState,
  weightedValues,
} from './step-blocks.ts';

export type { StepMasks, StepState } from './step-blocks.ts';

export interface StepResult {
  /** [B,T,H,E] */
  readonly mixed: Value;
  /** [B,M,T,D] the nodes' keys, to be written to the ring when a node is accepted. */
  readonly keys: Value;
  /** [B,M,T,E] the nodes' values. */
  readonly values: Value;
}

/**
 * Mixes the nodes of B trees.
 *
 * @param positions q [B,T,H,D], k and v [B,T,M,D]; T and C may be named dimensions
 * @throws LinnetError `CONFIG` for a mixer that reads the future
 */
export function mixStep(
  config: MixerConfig,
  positions: ProjectedPositions,
  state: StepState,
  ringMasks: StepMasks,
  treeMasks: StepMasks,
  parameters: MixerParameterValues,
): StepResult {
  if (config.kind === 'linformer' || !isCausal(config)) {
    throw new LinnetError('CONFIG', `'${describeMixer(config)}' reads the future and cannot decode`);
  }
  requireMixerParameters(config, positions, parameters);
  const keys = transpose(keepsRawKeys(config) ? positions.k : unitLength(positions.k), [0, 2, 1, 3]); // [B,M,T,D]
  const values = transpose(positions.v, [0, 2, 1, 3]); // [B,M,T,E]
  const blocks: Block[] = [
    { keys: state.keys, values: state.values, masks: ringMasks },
    { keys, values, masks: treeMasks },
  ];
  const heads = new HeadLayout(positions.q, Number(positions.k.shape[2]));
  const mixed =
    config.kind === 'softmax'
      ? weightedValues(blocks, softmaxWeights(blocks, heads))
      : config.kind === 'features'
        ? featuresStep(config, blocks, heads, state, parameters)
        : config.kind === 'gau'
          ? mixUnit(config, blocks, heads, state, parameters)
          : config.kind === 'block-linformer'
            ? blockLinformerStep(config, blocks, heads, requireMemory(state), parameters)
            : mixLinear(linearForm(config), blocks, heads, state, parameters);
  return { mixed: heads.split(mixed), keys, values };
}

/** Whether the ring holds keys as projected, instead of unit-length ones. */
export function keepsRawKeys(config: Exclude<MixerConfig, LinformerMixer>): boolean {
  if (config.kind === 'features' || config.kind === 'gau' || config.kind === 'block-linformer') return true;
  return linearForm(config).local?.kernel === 'softmax';
}

function requireMemory({ memory }: StepState): ProjectedMemory {
  if (memory !== undefined) return memory;
  throw new LinnetError('INTERNAL', 'internal: a state without the memory of closed blocks');
}

/** [B,M,R·T,E] */
function mixLinear(
  config: LinearMixer,
  apart: readonly Block[],
  heads: HeadLayout,
  state: StepState,
  parameters: MixerParameterValues,
): Value {
  const blocks = Number.isFinite(horizonOf(config).group) ? [joinBlocks(apart)] : apart;
  const { local_factor: lambda, global_factor: alpha, 'dwconv.weight': taps } = parameters;
  const raw = config.local?.kernel === 'softmax';
  const unitBlocks = raw ? blocks.map((block) => ({ ...block, keys: unitLength(block.keys) })) : blocks;
  const unitQueries = heads.join(unitLength(heads.queries));
  const scores = unitBlocks.map((block) => matmul(unitQueries, block.keys, { transposeB: true })); // [B,M,R*T,rows]

  // Weights of each branch per block. Without norms between branches they are added before the product with the values.
  const local = config.local === null ? undefined : localWeights(config.local, blocks, scores, heads);
  const global =
    config.global === null ? undefined : blocks.map((block, i) => mul(scores[i], heads.tile(block.masks.earlier)));
  const convolution = taps === undefined ? undefined : convolutionWeights(blocks, taps, heads);

  if (config.normalize === null && !config.castling) {
    const branches = [local && scaleAll(local, lambda), global && scaleAll(global, alpha), convolution];
    const present = branches.filter((branch) => branch !== undefined);
    const rows = weightedValues(
      blocks,
      blocks.map((_, i) => addAll(present.map((branch) => branch[i]))),
    );
    if (config.global === null || state.sums === undefined) return rows;
    return add(rows, scale(matmul(unitQueries, state.sums), alpha));
  }

  const parts: Value[] = [];
  if (local !== undefined) parts.push(scale(weightedValues(blocks, local), lambda));
  if (global !== undefined && state.sums !== undefined) {
    const summed = add(weightedValues(blocks, global), matmul(unitQueries, state.sums));
    parts.push(scale(config.normalize === 'global' ? boundedLength(summed) : summed, alpha));
  }
  let mixed = parts.length === 0 ? undefined : addAll(parts);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  if (config.castling) mixed = castle(mixed, heads.repeat(apart[1].values));
  if (convolution !== undefined) {
    const convolved = weightedValues(blocks, convolution);
    mixed = mixed === undefined ? convolved : add(mixed, convolved);
  }
  if (mixed === undefined) throw new LinnetError('INTERNAL', 'internal: a mixer without branches');
  return mixed;
}

/** The `gau` mixer. [B,M,R·T,E] */
function mixUnit(
  config: GauMixer,
  blocks: readonly Block[],
  heads: HeadLayout,
  state: StepState,
  parameters: MixerParameterValues,
): Value {
  const taps = parameters['dwconv.weight'];
  let mixed = gauStep(config, blocks, heads, state, parameters);
  if (config.castling) mixed = castle(mixed, heads.repeat(blocks[1].values));
  if (taps !== undefined) {
    const convolved = weightedValues(blocks, convolutionWeights(blocks, taps, heads, horizonOf(config).reach));
    mixed = mixed === undefined ? convolved : add(mixed, convolved);
  }
  if (mixed === undefined) throw new LinnetError('INTERNAL', 'internal: a mixer without branches');
  return mixed;
}

function localWeights(
  branch: NonNullable<LinearMixer['local']>,
  blocks: readonly Block[],
  unitScores: readonly Value[],
  heads: HeadLayout,
): Value[] {
  const visible = (block: Block): Value => heads.tile(block.masks.same);
  const kernels: Readonly<Record<LocalKernel, () => Value[]>> = {
    softmax: () => softmaxWeights(blocks, heads),
    relu2: () => blocks.map((block, i) => maskedReluSquared(unitScores[i], visible(block))),
    yoso: () => blocks.map((block, i) => mul(collision(unitScores[i], collisionBits(branch)), visible(block))),
  };
  return kernels[branch.kernel]();
}

/** Softmax of q·k/√d over the rows of the own group in both blocks, with one denominator. */
function softmaxWeights(blocks: readonly Block[], heads: HeadLayout): Value[] {
  const width = Number(heads.queries.shape[4]);
  const queries = heads.join(mul(heads.queries, 1 / Math.sqrt(width)));
  const scores = blocks.map((block) => {
    const bias = mul(sub(block.masks.same, 1), -hiddenScore); // 0 where visible
    return add(matmul(queries, block.keys, { transposeB: true }), heads.tile(bias)); // [B,M,R*T,rows]
  });
  const largest = scores.map((score) => max(score, [-1], true)).reduce((a, b) => maximum(a, b));
  const exponentials = scores.map((score) => exp(sub(score, largest)));
  const total = addAll(exponentials.map((exponential) => sum(exponential, [-1], true)));
  return exponentials.map((exponential) => div(exponential, total));
}

function scale(value: Value, factor: Value | undefined): Value {
  return factor === undefined ? value : mul(value, factor);
}

function scaleAll(values: readonly Value[], factor: Value | undefined): readonly Value[] {
  return values.map((value) => scale(value, factor));
}
