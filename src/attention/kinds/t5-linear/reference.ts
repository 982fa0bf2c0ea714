/** The reference of `forms.ts`: loops for decoders, encoders and cross attention. */
import { relativeBucket } from '../../../nn/relative-positions.ts';
import {
  addScaled,
  collisionKernel,
  cosineKernel,
  dot,
  type ReferencePositions,
  reluSquaredKernel,
  rowOf,
  softmaxOf,
  unit,
} from '../../reference.ts';
import { collisionBits, type LocalBranch, type LocalKernel } from '../linear/config.ts';
import { linearProblem } from '../linear/reference.ts';
import { linearForm, type T5LinearMixer } from './forms.ts';

/** [H,n,E] */
export function t5LinearReference(config: T5LinearMixer, positions: ReferencePositions): Float64Array {
  const { local, global } = config;
  const { heads, length, valueWidth } = positions;
  const whole = positions.input.keyMask !== undefined;
  const { alpha, lambda } = linearProblem(linearForm(config), positions);
  const sums = positions.mapRows((head, position) => {
    const kvHead = positions.keyValueHead(head);
    const query = positions.query(head, position);
    const value = (j: number): Float64Array => unit(positions.value(kvHead, j));
    const key = (j: number): Float64Array => positions.key(kvHead, j);
    const seen = positions.seen(position);
    const own = (j: number): boolean => positions.group(j, config.group) === positions.group(position, config.group);
    const x = new Float64Array(valueWidth);
    if (local !== null) {
      const same = seen.filter(own);
      const weights = localWeights(local, positions, head, position, same);
      for (const [i, j] of same.entries()) addScaled(x, lambda * weights[i], value(j));
    }
    if (global !== null) {
      const outside = whole ? seen : seen.filter((j) => !own(j));
      const weights = cosineKernel(query, outside.map(key));
      for (const [i, j] of outside.entries()) addScaled(x, alpha * weights[i], value(j));
    }
    return x;
  });
  const row = (head: number, position: number): Float64Array => rowOf(sums, head, position, length, valueWidth);
  return positions.mapRows((head, position) => {
    let squares = 0;
    for (let other = 0; other < heads; other++) squares += dot(row(other, position), row(other, position));
    const out = row(head, position).map((x) => x / (1e-4 + Math.sqrt(squares)));
    positions.addConvolution(head, position, out);
    return out;
  });
}

function localWeights(
  { kernel, bits }: LocalBranch,
  positions: ReferencePositions,
  head: number,
  position: number,
  seen: readonly number[],
): Float64Array {
  const { bias } = positions.input;
  const kvHead = positions.keyValueHead(head);
  const query = positions.query(head, position);
  const keys = seen.map((j) => positions.key(kvHead, j));
  const biasOf = (j: number): number => {
    if (bias === undefined) return 0;
    const bucket = relativeBucket(positions.depths[position] - positions.depths[j], bias.scheme);
    return bias.table[bucket * positions.heads + head];
  };
  const biases = Float64Array.from(seen, biasOf);
  const scores = (): Float64Array => Float64Array.from(keys, (key, i) => positions.scale * dot(query, key) + biases[i]);
  const kernels: Readonly<Record<LocalKernel, () => Float64Array>> = {
    relu2: () => reluSquaredKernel(query, keys).map((weight, i) => weight + biases[i]),
    yoso: () => collisionKernel(collisionBits({ bits }))(query, keys).map((weight, i) => weight + biases[i]),
    'relu2-raw': () => scores().map((score) => Math.max(score, 0) ** 2),
    softmax: () => softmaxOf(scores()),
  };
  return kernels[kernel]();
}
