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
import { add, addAll, div, maximum, mul, sub } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { reshape, transpose } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { broadcastTo, max, sum } from '../graph/ops/reduce.ts';
import { maskedReluSquared } from '../graph/ops/relu-squared.ts';
import { exp } from '../graph/ops/unary.ts';
import { multiplyDims } from '../graph/shape.ts';
import { tapsByLag } from './convolution.ts';
import { isCausal, type LinearMixer, type MixerConfig } from './mixer.ts';
import { boundedLength, castle, hiddenScore, type MixerParameterValues, type ProjectedPositions } from './parallel.ts';

/** Masks and lags of one block of rows (the ring or the tree), for all B·T nodes. */
export interface StepMasks {
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor (or the node) in the node's own group. */
  readonly same: Value;
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor in an earlier group that is not yet in S. */
  readonly earlier: Value;
  /** int32 [B,T,rows]: lag τ in 0…P, or P + 1 for rows the convolution does not see. */
  readonly lags: Value;
}

/** What a layer remembers of the committed prefix. */
export interface StepState {
  /** [B,M,C,D] keys of the last C positions, as `storedKeys` makes them; slots in any order. */
  readonly keys: Value;
  /** [B,M,C,E] values of the same positions. */
  readonly values: Value;
  /** S [B,M,D,E]: the sum of k̂ᵀv over closed groups; only with a global branch. */
  readonly sums?: Value;
}

export interface StepResult {
  /** [B,T,H,E] */
  readonly mixed: Value;
  /** [B,M,T,D] the nodes' keys, to be written to the ring when a node is accepted. */
  readonly keys: Value;
  /** [B,M,T,E] the nodes' values. */
  readonly values: Value;
}

/** A block of rows with its scores' ingredients. */
interface Block {
  readonly keys: Value; // [B,M,rows,D]
  readonly values: Value; // [B,M,rows,E]
  readonly masks: StepMasks;
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
  if (!isCausal(config)) {
    throw new LinnetError('CONFIG', 'a mixer with an unmasked convolution reads the future and cannot decode');
  }
  const raw = config.kind === 'softmax' || config.local?.kernel === 'softmax';
  const keys = transpose(raw ? positions.k : unitLength(positions.k), [0, 2, 1, 3]); // [B,M,T,D]
  const values = transpose(positions.v, [0, 2, 1, 3]); // [B,M,T,E]
  const blocks: Block[] = [
    { keys: state.keys, values: state.values, masks: ringMasks },
    { keys, values, masks: treeMasks },
  ];
  const heads = new HeadLayout(positions.q, Number(positions.k.shape[2]));
  const mixed =
    config.kind === 'softmax'
      ? weightedValues(blocks, softmaxWeights(blocks, heads))
      : mixLinear(config, blocks, heads, state, parameters);
  return { mixed: heads.split(mixed), keys, values };
}

/** [B,M,R·T,E] */
function mixLinear(
  config: LinearMixer,
  blocks: readonly Block[],
  heads: HeadLayout,
  state: StepState,
  parameters: MixerParameterValues,
): Value {
  const { local_factor: lambda, global_factor: alpha, 'dwconv.weight': taps } = parameters;
  const raw = config.local?.kernel === 'softmax';
  const unitBlocks = raw ? blocks.map((block) => ({ ...block, keys: unitLength(block.keys) })) : blocks;
  const unitQueries = heads.join(unitLength(heads.queries));
  const scores = unitBlocks.map((block) => matmul(unitQueries, block.keys, { transposeB: true })); // [B,M,R*T,rows]

  // Weights of each branch per block. Without norms between branches they are added before the product with the values.
  const local = config.local === null ? undefined : localWeights(config.local.kernel, blocks, scores, heads);
  const global =
    config.global === null ? undefined : blocks.map((block, i) => mul(scores[i], heads.tile(block.masks.earlier)));
  const convolution =
    taps === undefined ? undefined : blocks.map((block) => heads.perHead(gather(tapsByLag(taps), block.masks.lags, 1)));

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
  if (config.castling) mixed = castle(mixed, heads.repeat(blocks[1].values));
  if (convolution !== undefined) {
    const convolved = weightedValues(blocks, convolution);
    mixed = mixed === undefined ? convolved : add(mixed, convolved);
  }
  if (mixed === undefined) throw new LinnetError('INTERNAL', 'internal: a mixer without branches');
  return mixed;
}

function localWeights(
  kernel: 'relu2' | 'softmax',
  blocks: readonly Block[],
  unitScores: readonly Value[],
  heads: HeadLayout,
): Value[] {
  if (kernel === 'softmax') return softmaxWeights(blocks, heads);
  return blocks.map((block, i) => maskedReluSquared(unitScores[i], heads.tile(block.masks.same)));
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

/** Σ over blocks of weights × values: [B,M,R·T,rows] × [B,M,rows,E]. The ring is read in place, never joined to the tree. */
function weightedValues(blocks: readonly Block[], weights: readonly Value[]): Value {
  return addAll(blocks.map((block, i) => matmul(weights[i], block.values)));
}

function scale(value: Value, factor: Value | undefined): Value {
  return factor === undefined ? value : mul(value, factor);
}

function scaleAll(values: readonly Value[], factor: Value | undefined): readonly Value[] {
  return values.map((value) => scale(value, factor));
}

/** Query heads laid out so that the R heads sharing keys form one matrix of R·T rows. */
class HeadLayout {
  /** [B,M,R,T,D] */
  readonly queries: Value;
  readonly #repeat: number;
  readonly #keyValueHeads: number;

  constructor(q: Value, keyValueHeads: number) {
    const [B, T, H, D] = q.shape;
    this.#keyValueHeads = keyValueHeads;
    this.#repeat = Number(H) / keyValueHeads;
    this.queries = transpose(reshape(q, [B, T, keyValueHeads, this.#repeat, D]), [0, 2, 3, 1, 4]);
  }

  /** [B,M,R,T,X] → [B,M,R·T,X] */
  join(x: Value): Value {
    const [B, M, R, T, X] = x.shape;
    return reshape(x, [B, M, multiplyDims(R, T), X]);
  }

  /** [B,M,R·T,E] → [B,T,H,E] */
  split(x: Value): Value {
    const [B, , , T] = this.queries.shape;
    const E = x.shape[3];
    const perHead = reshape(x, [B, this.#keyValueHeads, this.#repeat, T, E]);
    return reshape(transpose(perHead, [0, 3, 1, 2, 4]), [B, T, this.#keyValueHeads * this.#repeat, E]);
  }

  /** A mask [B,1,T,rows] for every query of a matrix: [B,1,R·T,rows]. */
  tile(mask: Value): Value {
    if (this.#repeat === 1) return mask;
    const [B, , T, rows] = mask.shape;
    return reshape(broadcastTo(mask, [B, this.#repeat, T, rows]), [B, 1, multiplyDims(this.#repeat, T), rows]);
  }

  /** Weights per query head [H,B,T,rows] → [B,M,R·T,rows]. */
  perHead(weights: Value): Value {
    const [, B, T, rows] = weights.shape;
    return reshape(transpose(weights, [1, 0, 2, 3]), [B, this.#keyValueHeads, multiplyDims(this.#repeat, T), rows]);
  }

  /** Values [B,M,T,E] as each query head sees them: [B,M,R·T,E]. */
  repeat(values: Value): Value {
    const [B, M, T, E] = values.shape;
    return this.join(broadcastTo(reshape(values, [B, M, 1, T, E]), [B, M, this.#repeat, T, E]));
  }
}
