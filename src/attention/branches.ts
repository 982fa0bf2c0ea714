/** The local and global branches of the linear kind over whole sequences, in the layout of groups. */
import type { Value } from '../graph/graph.ts';
import { collision } from '../graph/ops/collision.ts';
import { add, addAll, mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { broadcastTo } from '../graph/ops/reduce.ts';
import { maskedReluSquared } from '../graph/ops/relu-squared.ts';
import { softmax } from '../graph/ops/softmax.ts';
import { boundedLength } from './bounded-length.ts';
import { groupKeys, type Grouping, groupQueries } from './grouping.ts';
import { collisionBits, type LinearMixer, type LocalKernel } from './mixer.ts';
import type { MixerParameterValues, ProjectedPositions } from './mixer-values.ts';
import type { Sight } from './sight.ts';

/**
 * λ·local + α·global, with the norms between them and castling, but without the convolution. [M,B·N,R·G,E]; undefined
 * where there is nothing to read: a global branch alone sees nothing from the first group.
 */
export function attendGroups(
  config: LinearMixer,
  sight: Sight,
  { q, k, v }: ProjectedPositions,
  parameters: MixerParameterValues,
): Value | undefined {
  const values = groupKeys(sight.keys, v);
  const unitQueries = groupQueries(sight.queries, unitLength(q));
  const unitKeys = groupKeys(sight.keys, unitLength(k));

  const branches: Value[] = [];
  if (config.local !== null) {
    const branch = config.local;
    const kernels: Readonly<Record<LocalKernel, () => Value>> = {
      relu2: () => localReluSquared(sight, unitQueries, unitKeys, values),
      softmax: () => localSoftmax(sight, groupQueries(sight.queries, q), groupKeys(sight.keys, k), values),
      yoso: () => localCollision(sight, unitQueries, unitKeys, values, collisionBits(branch)),
    };
    branches.push(scaled(kernels[branch.kernel](), parameters.local_factor));
  }
  const global = config.global === null ? undefined : sight.outside(unitQueries, unitKeys, values);
  if (global !== undefined) {
    branches.push(scaled(config.normalize === 'global' ? boundedLength(global) : global, parameters.global_factor));
  }
  let mixed = branches.length === 0 ? undefined : addAll(branches);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  return config.castling ? castle(mixed, repeatValues(sight.keys, values)) : mixed;
}

/** Σ max(q̂·k̂, 0)² v over what is visible of the own group. [M,B·N,R·G,E] */
function localReluSquared(sight: Sight, unitQueries: Value, unitKeys: Value, values: Value): Value {
  const scores = matmul(unitQueries, unitKeys, { transposeB: true }); // [M,B*N,R*G,G]
  return matmul(maskedReluSquared(scores, sight.visible(unitQueries)), values);
}

/** Softmax of q·k/√d over what is visible of the own group, on raw queries and keys. [M,B·N,R·G,E] */
export function localSoftmax(sight: Sight, queries: Value, keys: Value, values: Value): Value {
  const scores = matmul(mul(queries, 1 / Math.sqrt(Number(keys.shape[3]))), keys, { transposeB: true });
  return matmul(softmax(add(scores, sight.bias(queries))), values);
}

/** Σ (1 − arccos(q̂·k̂)/π)^bits v over what is visible of the own group. [M,B·N,R·G,E] */
function localCollision(sight: Sight, unitQueries: Value, unitKeys: Value, values: Value, bits: number): Value {
  const weights = collision(matmul(unitQueries, unitKeys, { transposeB: true }), bits); // [M,B*N,R*G,G]
  return matmul(mul(weights, sight.visible(unitQueries)), values);
}

function scaled(branch: Value, factor: Value | undefined): Value {
  return factor === undefined ? branch : mul(branch, factor);
}

/** Castling: x / ‖x‖ with x = ½v + mixed/π. */
export function castle(mixed: Value | undefined, values: Value): Value {
  const half = mul(values, 0.5);
  return unitLength(mixed === undefined ? half : add(half, mul(mixed, 1 / Math.PI)));
}

/** The shape of values as each query head sees them: [M,B·N,R·G,E]. */
export function repeatedShape(
  { group: G, groups: N, batch: B, keyValueHeads: M, repeat: R }: Grouping,
  valueWidth: number,
): number[] {
  return [M, B * N, R * G, valueWidth];
}

/** Values [M,B·N,G,E] as each query head sees them: [M,B·N,R·G,E]. */
export function repeatValues(grouping: Grouping, values: Value): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const E = values.shape[3];
  const spread = broadcastTo(reshape(values, [M, B * N, 1, G, E]), [M, B * N, R, G, E]);
  return reshape(spread, repeatedShape(grouping, Number(E)));
}
