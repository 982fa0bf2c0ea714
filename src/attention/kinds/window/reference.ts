/** Window attention as loops over positions: softmax over the rows of the window, with the memory as one more row. */
import { addScaled, dot, type ReferencePositions, softmaxOf } from '../../reference.ts';
import { sinkLogitName } from '../../sink-logits.ts';
import { featuresOfRow, mappedRows } from '../features/reference.ts';
import { fixedDecay, memoryDecayName, memoryScoreName, type WindowMemory, type WindowMixer } from './config.ts';

/**
 * o_t = [Σ_near e^{s_tj} v_j + β Σ_older γ^{age} ⟨φ(q_t), φ(k_j)⟩ v_j] / [the same sums without v], plus the convolution.
 * A sink logit adds e^{sink} to the denominator.
 * Encoders count distances of groups in both directions.
 * @returns [H,n,E]
 */
export function windowReference(config: WindowMixer, positions: ReferencePositions): Float64Array {
  const { group, window, sinks, memory, sinkLogit } = config;
  const weigh = memory === null ? undefined : memoryWeights(memory, positions);
  return positions.mapRows((head, t) => {
    const kvHead = positions.keyValueHead(head);
    const query = positions.query(head, t);
    const distance = (j: number): number => Math.abs(positions.group(t, group) - positions.group(j, group));
    const isNear = (j: number): boolean => distance(j) < window || positions.depths[j] < sinks;
    const seen = positions.seen(t);
    const near = seen.filter(isNear);
    const older = seen.filter((j) => !isNear(j));

    const total = new Float64Array(positions.valueWidth);
    let weight = 0;
    if (weigh !== undefined) {
      const weightOf = weigh(head, t);
      for (const j of older) {
        const own = weightOf(j, distance(j) - window);
        weight += own;
        addScaled(total, own, positions.value(kvHead, j));
      }
    }
    const scores = near.map((j) => positions.scale * dot(query, positions.key(kvHead, j)));
    const remembered = weight > 0 ? [Math.log(weight)] : [];
    const sink = sinkLogit === undefined ? [] : [positions.parameter(sinkLogitName)[head]];
    const weights = softmaxOf(Float64Array.of(...scores, ...remembered, ...sink));
    const mixed = new Float64Array(positions.valueWidth);
    near.forEach((j, i) => addScaled(mixed, weights[i], positions.value(kvHead, j)));
    if (weight > 0) addScaled(mixed, weights[near.length] / weight, total);
    positions.addConvolution(head, t, mixed);
    return mixed;
  });
}

type MemoryWeight = (head: number, t: number) => (j: number, age: number) => number;

/** β γ^age ⟨φ(q_t), φ(k_j)⟩. */
function memoryWeights({ map, decay }: WindowMemory, positions: ReferencePositions): MemoryWeight {
  const { keyValueHeads } = positions.input.dims;
  const { keys, query } = mappedRows(positions, (row, context) => featuresOfRow(map, row, context));
  const logDecay = {
    none: () => new Float64Array(keyValueHeads),
    fixed: () => fixedDecay(keyValueHeads),
    learned: () => positions.parameter(memoryDecayName).map((r) => -Math.exp(r)),
  }[decay]();
  return (head, t) => {
    const kvHead = positions.keyValueHead(head);
    const score = positions.parameter(memoryScoreName)[head];
    const features = query(head, t);
    return (j, age) => Math.exp(score + age * logDecay[kvHead]) * dot(features, keys[kvHead][j]);
  };
}
