/**
 * Gradients of the oracle in `naive.ts`, again as loops, each line the derivative of one line there, in reverse order.
 */
import { LinnetError } from '../errors.ts';
import type { MixerConfig } from './mixer.ts';
import type { NaiveInput, NaiveProblem } from './naive.ts';
import { naiveProblem, naiveRow } from './naive.ts';
import { rowOf } from './naive-input.ts';
import type { RowKernel } from './naive-rows.ts';
import { addScaled, dot, globalRowKernel, localRowKernel, softUnit, unit } from './naive-rows.ts';

/** Gradients of Σ out·dout. A parameter that the configuration does not have is null. */
export interface NaiveGradients {
  /** [H,n,d] */
  readonly q: Float64Array;
  /** [Hkv,n,d], summed over the query heads that share a key-value head. */
  readonly k: Float64Array;
  /** [Hkv,n,e], likewise. */
  readonly v: Float64Array;
  alpha: number | null;
  lambda: number | null;
  /** [H,K]; the masked taps, which read the future, have gradient 0. */
  readonly taps: Float64Array | null;
}

/**
 * Gradients of the sum of `naiveMixer(config, input)` times `dout`.
 * @param dout [H,n,e]
 * @throws LinnetError `SHAPE`, `INPUT` or `CONFIG`, as `naiveProblem` does.
 */
export function naiveGradients(config: MixerConfig, input: NaiveInput, dout: Float64Array): NaiveGradients {
  const problem = naiveProblem(config, input);
  const { heads, length } = input.dims;
  const { valueDim } = problem.positions;
  const expected = heads * length * valueDim;
  if (dout.length !== expected) {
    throw new LinnetError('SHAPE', `dout must hold [H,n,e] = ${expected} numbers, got ${dout.length}`);
  }
  const { local, global, convolution } = problem.config;
  const gradients: NaiveGradients = {
    q: new Float64Array(input.q.length),
    k: new Float64Array(input.k.length),
    v: new Float64Array(input.v.length),
    alpha: global?.scale === 'learned' ? 0 : null,
    lambda: local?.scale === 'learned' ? 0 : null,
    taps: convolution === null ? null : new Float64Array(heads * convolution.kernel),
  };
  for (let head = 0; head < heads; head++) {
    for (let position = 0; position < length; position++) {
      addRowGradient(problem, head, position, rowOf(dout, head, position, length, valueDim), gradients);
    }
  }
  return gradients;
}

/** Adds the gradients that flow through one output row. */
function addRowGradient(
  problem: NaiveProblem,
  head: number,
  position: number,
  dOut: Float64Array,
  gradients: NaiveGradients,
): void {
  const { config, alpha, lambda, positions } = problem;
  const { taps, keyMask } = problem.input;
  const { keyLength, valueDim } = positions;
  const kvHead = positions.keyValueHead(head);
  const reads = problem.reads[position];
  const row = naiveRow(problem, head, position);
  const value = (j: number): Float64Array => positions.value(kvHead, j);
  const dValue = (j: number): Float64Array => rowOf(gradients.v, kvHead, j, keyLength, valueDim);

  // out += w[tap]·v
  if (config.convolution !== null && taps !== undefined && gradients.taps !== null) {
    for (const read of reads.taps) {
      const tap = head * config.convolution.kernel + read.tap;
      gradients.taps[tap] += dot(dOut, value(read.position));
      addScaled(dValue(read.position), taps[tap], dOut);
    }
  }
  // out = unit(castled), castled = ½·v + attention/π
  let dAttention = dOut;
  if (row.castled !== null) {
    const dCastled = unit.gradient(row.castled, dOut);
    if (keyMask?.[position] !== 0) addScaled(dValue(position), 0.5, dCastled);
    dAttention = dCastled.map((x) => x / Math.PI);
  }
  // attention = softUnit(sum)
  const dSum = config.normalize === 'together' ? softUnit.gradient(row.sum, dAttention) : dAttention;
  // sum = λ·local + α·scaledGlobal
  if (gradients.lambda !== null) gradients.lambda += dot(dSum, row.local);
  if (gradients.alpha !== null) gradients.alpha += dot(dSum, row.scaledGlobal);
  if (config.local !== null) {
    const dLocal = dSum.map((x) => lambda * x);
    const kernel = localRowKernel(config.local);
    addBranchGradient(problem, head, position, kernel, reads.same, row.localWeights, dLocal, gradients);
  }
  if (config.global !== null) {
    const dScaled = dSum.map((x) => alpha * x);
    // scaledGlobal = softUnit(global)
    const dGlobal = config.normalize === 'global' ? softUnit.gradient(row.global, dScaled) : dScaled;
    addBranchGradient(problem, head, position, globalRowKernel, reads.outside, row.globalWeights, dGlobal, gradients);
  }
}

/** branch = Σ_j weights(q, k)_j·v_j over the positions `read`. */
function addBranchGradient(
  problem: NaiveProblem,
  head: number,
  position: number,
  kernel: RowKernel,
  read: readonly number[],
  weights: Float64Array,
  dBranch: Float64Array,
  gradients: NaiveGradients,
): void {
  const { positions } = problem;
  const { length, headDim } = problem.input.dims;
  const { keyLength, valueDim } = positions;
  const kvHead = positions.keyValueHead(head);
  const dWeights = new Float64Array(read.length);
  for (const [j, at] of read.entries()) {
    dWeights[j] = dot(dBranch, positions.value(kvHead, at));
    addScaled(rowOf(gradients.v, kvHead, at, keyLength, valueDim), weights[j], dBranch);
  }
  kernel.addGradient(
    positions.query(head, position),
    read.map((at) => positions.key(kvHead, at)),
    dWeights,
    rowOf(gradients.q, head, position, length, headDim),
    read.map((at) => rowOf(gradients.k, kvHead, at, keyLength, headDim)),
  );
}
