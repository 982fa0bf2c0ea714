/** Gradients of the loops in `reference.ts`, again as loops, each line the derivative of one line there, in reverse order. */
import { filterName } from '../../convolution-config.ts';
import { type ReferenceGradients, type ReferencePositions, rowOf } from '../../reference.ts';
import { addScaled, cosineKernel, dot, type RowKernel, softUnit, unit } from '../../reference-rows.ts';
import type { LinearBranches } from './config.ts';
import { linearProblem, type LinearProblem, linearReads, linearRow, localRowKernel } from './reference.ts';

/** Gradients of the sum of `linearReference(config, positions)` times `dout` [H,n,E]. */
export function linearGradients(
  config: LinearBranches,
  positions: ReferencePositions,
  dout: Float64Array,
): ReferenceGradients {
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
    const dCastled = unit.gradient(row.castled, dOut);
    if (input.keyMask?.[position] !== 0) addScaled(dValue(position), 0.5, dCastled);
    dAttention = dCastled.map((x) => x / Math.PI);
  }
  // attention = softUnit(sum)
  const dSum = config.normalize === 'together' ? softUnit.gradient(row.sum, dAttention) : dAttention;
  // sum = λ·local + α·scaledGlobal
  if (config.local?.scale === 'learned') dLambda[0] += dot(dSum, row.local);
  if (config.global?.scale === 'learned') dAlpha[0] += dot(dSum, row.scaledGlobal);
  if (config.local !== null) {
    const dLocal = dSum.map((x) => lambda * x);
    const kernel = localRowKernel(config.local, config.normalize, positions.scale);
    addBranchGradient(positions, head, position, kernel, reads.same, row.localWeights, dLocal, gradients);
  }
  if (config.global !== null) {
    const dScaled = dSum.map((x) => alpha * x);
    // scaledGlobal = softUnit(global)
    const dGlobal = config.normalize === 'global' ? softUnit.gradient(row.global, dScaled) : dScaled;
    addBranchGradient(positions, head, position, cosineKernel, reads.outside, row.globalWeights, dGlobal, gradients);
  }
}

/** branch = Σ_j weights(q, k)_j·v_j over the positions `read`. */
function addBranchGradient(
  positions: ReferencePositions,
  head: number,
  position: number,
  kernel: RowKernel,
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
  kernel.addGradient(
    positions.query(head, position),
    read.map((at) => positions.key(kvHead, at)),
    dWeights,
    rowOf(gradients.q, head, position, length, headWidth),
    read.map((at) => rowOf(gradients.k, kvHead, at, keyLength, headWidth)),
  );
}
