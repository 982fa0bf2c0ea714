/**
 * Gradients of the loops of the linear kind's reference, again as loops, each line the derivative of one line there, in
 * reverse order; and of the kinds that are one local branch without an end.
 */
import { filterName } from '../../src/attention/convolution-config.ts';
import { collisionBits, type LinearMixer, linearSchema } from '../../src/attention/kinds/linear/config.ts';
import {
  globalFades,
  type LinearProblem,
  linearProblem,
  linearReads,
  linearRow,
  localRowKernel,
} from '../../src/attention/kinds/linear/reference.ts';
import { yosoBranches, yosoKind } from '../../src/attention/kinds/yoso/index.ts';
import { referencePositions } from '../../src/attention/mixers.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { weightFloor } from '../../src/attention/normalization.ts';
import {
  addScaled,
  collisionProbability,
  dot,
  type ReferenceInput,
  type ReferencePositions,
  type RowKernel,
  rowOf,
  softmaxKernel,
  unit,
} from '../../src/attention/reference.ts';

/** Gradients of Σ out·dout. */
export interface ReferenceGradients {
  /** [H,n,D] */
  readonly q: Float64Array;
  /** [M,n,D], summed over the query heads that share a key-value head. */
  readonly k: Float64Array;
  /** [M,n,E], likewise. */
  readonly v: Float64Array;
  /** By name; filter weights of the future that are masked have gradient 0. */
  readonly parameters: Readonly<Record<string, Float64Array>>;
}

/** One local group that never ends. */
const softmaxBranches: LinearMixer = {
  ...{ kind: 'linear', group: Number.POSITIVE_INFINITY, local: { kernel: 'softmax', scale: 'none' }, global: null },
  ...{ convolution: null, normalize: null, castling: false },
};

const branchesOf: Readonly<Record<string, (config: MixerConfig) => LinearMixer>> = {
  softmax: () => softmaxBranches,
  linear: (config) => linearSchema.parse(config),
  yoso: (config) => yosoBranches(yosoKind.schema.parse(config)),
};

/** The gradients of a reference that were derived by hand; undefined for a kind without such. */
export function handDerived(
  config: MixerConfig,
  input: ReferenceInput,
  dout: Float64Array,
): ReferenceGradients | undefined {
  const branches =
    Object.hasOwn(branchesOf, config.kind) && !('sinkLogit' in config) ? branchesOf[config.kind](config) : undefined;
  return branches && linearGradients(branches, referencePositions(config, input), dout);
}

/** Adds to `dq` and to every `dKeys[j]`, given the gradient with respect to the weights of a kernel. */
type KernelGradient = (
  q: Float64Array,
  keys: readonly Float64Array[],
  dWeights: Float64Array,
  dq: Float64Array,
  dKeys: readonly Float64Array[],
) => void;

/** y = x / (‖x‖ + ε). With r = ‖x‖ and s = r + ε: dx = dy/s − x·⟨x, dy⟩/(r·s²). */
function lengthGradient(x: Float64Array, dResult: Float64Array, epsilon: number): Float64Array {
  const norm = Math.sqrt(dot(x, x));
  const size = norm + epsilon;
  if (size === 0) return new Float64Array(x.length);
  const along = norm === 0 ? 0 : dot(x, dResult) / (norm * size * size);
  return x.map((value, i) => dResult[i] / size - value * along);
}

/** The zero vector passes no gradient, since it has no direction. */
const unitGradient = (x: Float64Array, dResult: Float64Array): Float64Array => lengthGradient(x, dResult, 0);
const softUnitGradient = (x: Float64Array, dResult: Float64Array): Float64Array => lengthGradient(x, dResult, 1e-5);

/** weight = f(⟨q̂, k̂⟩); `slope` is f'. */
function ofCosine(slope: (cosine: number) => number): KernelGradient {
  return (q, keys, dWeights, dq, dKeys) => {
    const unitQ = unit(q);
    const dUnitQ = new Float64Array(q.length);
    for (const [j, key] of keys.entries()) {
      const unitKey = unit(key);
      const dCosine = dWeights[j] * slope(dot(unitQ, unitKey));
      addScaled(dUnitQ, dCosine, unitKey);
      const dUnitKey = unitQ.map((value) => dCosine * value);
      addScaled(dKeys[j], 1, unitGradient(key, dUnitKey));
    }
    addScaled(dq, 1, unitGradient(q, dUnitQ));
  };
}

/** With p the weights: ds_j = p_j·(dp_j − Σ_i p_i·dp_i). */
function softmaxGradient(scale: number): KernelGradient {
  return (q, keys, dWeights, dq, dKeys) => {
    const own = softmaxKernel(scale)(q, keys);
    const mean = dot(own, dWeights);
    for (const [j, key] of keys.entries()) {
      const dScore = scale * own[j] * (dWeights[j] - mean);
      addScaled(dq, dScore, key);
      addScaled(dKeys[j], dScore, q);
    }
  };
}

function reluSquaredScoreGradient(scale: number): KernelGradient {
  return (q, keys, dWeights, dq, dKeys) => {
    for (const [j, key] of keys.entries()) {
      const dProduct = 2 * scale * Math.max(scale * dot(q, key), 0) * dWeights[j];
      addScaled(dq, dProduct, key);
      addScaled(dKeys[j], dProduct, q);
    }
  };
}

/** p = w/Z with Z = floor + Σ w: dw_j = (dp_j − Σ_i p_i·dp_i)/Z. */
function normalizedGradient(kernel: RowKernel, gradient: KernelGradient): KernelGradient {
  return (q, keys, dWeights, dq, dKeys) => {
    const own = kernel(q, keys);
    const size = own.reduce((sum, weight) => sum + weight, weightFloor);
    const mean = dot(own, dWeights) / size;
    const dOwn = dWeights.map((dWeight) => (dWeight - mean) / size);
    gradient(q, keys, dOwn, dq, dKeys);
  };
}

function localGradient(
  branch: NonNullable<LinearMixer['local']>,
  normalize: LinearMixer['normalize'],
  scale: number,
): KernelGradient {
  const bits = collisionBits(branch);
  const own = {
    relu2: ofCosine((cosine) => 2 * Math.max(cosine, 0)),
    'relu2-raw': reluSquaredScoreGradient(scale),
    softmax: softmaxGradient(scale),
    // YOSO's surrogate for the derivative: see `graph/ops/surrogate-gradient.ts`.
    yoso: ofCosine((cosine) => (bits / 2) * collisionProbability(cosine, bits)),
  }[branch.kernel];
  return normalize === 'local' ? normalizedGradient(localRowKernel(branch, null, scale), own) : own;
}

/** Gradients of the sum of `linearReference(config, positions)` times `dout` [H,n,E]. */
function linearGradients(config: LinearMixer, positions: ReferencePositions, dout: Float64Array): ReferenceGradients {
  const problem = linearProblem(config, positions);
  const { input, heads, length, valueWidth } = positions;
  const gradients: ReferenceGradients = {
    q: new Float64Array(input.q.length),
    k: new Float64Array(input.k.length),
    v: new Float64Array(input.v.length),
    parameters: Object.fromEntries(
      Object.entries(input.parameters ?? {}).map(([name, values]) => [name, new Float64Array(values.length)]),
    ),
  };
  for (let head = 0; head < heads; head++) {
    for (let position = 0; position < length; position++) {
      addRowGradient(problem, head, position, rowOf(dout, head, position, length, valueWidth), gradients);
    }
  }
  return gradients;
}

/** Adds the gradients that flow through one output row. */
function addRowGradient(
  problem: LinearProblem,
  head: number,
  position: number,
  dOut: Float64Array,
  gradients: ReferenceGradients,
): void {
  const { config, alpha, lambda, positions } = problem;
  const { keyLength, valueWidth, input } = positions;
  const kvHead = positions.keyValueHead(head);
  const reads = linearReads(problem, position);
  const row = linearRow(problem, head, position);
  const value = (j: number): Float64Array => positions.value(kvHead, j);
  const dValue = (j: number): Float64Array => rowOf(gradients.v, kvHead, j, keyLength, valueWidth);
  const { [filterName]: dFilter, global_factor: dAlpha, local_factor: dLambda } = gradients.parameters;

  // out += w[index]·v
  if (config.convolution !== null) {
    const filter = positions.parameter(filterName);
    for (const read of positions.filterReads(position)) {
      const at = head * config.convolution.kernel + read.index;
      dFilter[at] += dot(dOut, value(read.position));
      addScaled(dValue(read.position), filter[at], dOut);
    }
  }
  // out = unit(castled), castled = ½·v + attention/π
  let dAttention = dOut;
  if (row.castled !== null) {
    const dCastled = unitGradient(row.castled, dOut);
    if (input.keyMask?.[position] !== 0) addScaled(dValue(position), 0.5, dCastled);
    dAttention = dCastled.map((x) => x / Math.PI);
  }
  // attention = softUnit(sum)
  const dSum = config.normalize === 'together' ? softUnitGradient(row.sum, dAttention) : dAttention;
  // sum = λ·local + α·scaledGlobal
  if (config.local?.scale === 'learned') dLambda[0] += dot(dSum, row.local);
  if (config.global?.scale === 'learned') dAlpha[0] += dot(dSum, row.scaledGlobal);
  if (config.local !== null) {
    const dLocal = dSum.map((x) => lambda * x);
    const kernel = localGradient(config.local, config.normalize, positions.scale);
    addBranchGradient(positions, head, position, kernel, reads.same, row.localWeights, dLocal, gradients);
  }
  if (config.global !== null) {
    const dScaled = dSum.map((x) => alpha * x);
    // scaledGlobal = softUnit(global)
    const dGlobal = config.normalize === 'global' ? softUnitGradient(row.global, dScaled) : dScaled;
    const fades = globalFades(problem, position, reads.outside);
    const kernel: KernelGradient = (q, keys, dWeights, dq, dKeys) => {
      ofCosine(() => 1)(
        q,
        keys,
        dWeights.map((dWeight, j) => fades[j] * dWeight),
        dq,
        dKeys,
      );
    };
    addBranchGradient(positions, head, position, kernel, reads.outside, row.globalWeights, dGlobal, gradients);
  }
}

/** branch = Σ_j weights(q, k)_j·v_j over the positions `read`. */
function addBranchGradient(
  positions: ReferencePositions,
  head: number,
  position: number,
  addGradient: KernelGradient,
  read: readonly number[],
  weights: Float64Array,
  dBranch: Float64Array,
  gradients: ReferenceGradients,
): void {
  const { length, headWidth, keyLength, valueWidth } = positions;
  const kvHead = positions.keyValueHead(head);
  const dWeights = new Float64Array(read.length);
  for (const [j, at] of read.entries()) {
    dWeights[j] = dot(dBranch, positions.value(kvHead, at));
    addScaled(rowOf(gradients.v, kvHead, at, keyLength, valueWidth), weights[j], dBranch);
  }
  addGradient(
    positions.query(head, position),
    read.map((at) => positions.key(kvHead, at)),
    dWeights,
    rowOf(gradients.q, head, position, length, headWidth),
    read.map((at) => rowOf(gradients.k, kvHead, at, keyLength, headWidth)),
  );
}
