/**
 * Distillation by logits: after every token, the student's prediction approaches the teacher's,
 *
 *     loss = Σ_tokens KL(p_teacher ‖ p_student) = Σ_tokens Σ_v p_teacher(v) (ln p_teacher(v) − ln p_student(v)),
 *
 * with the student running on its own hidden states, so that later layers learn what earlier ones have changed. The text
 * matters little, since the teacher judges it: also text sampled from the teacher serves.
 */
import { packedInputs } from '../../data/datasets/packed-rows.ts';
import type { Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { log, maximum, mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { softmax } from '../../graph/ops/softmax.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { teacherSource } from './distillation.ts';
import type { Objective } from './next-token.ts';
import { sumOverPositions } from './position-blocks.ts';

/** The least probability that has a logarithm: the smallest normal float32. */
const leastProbability = 1.1754943508222875e-38;

/**
 * The objective over rows as `PackedDataset` has them; labels are not read.
 * @param trained names of the student's parameters that change; the teacher keeps its own under other names, see
 *   `transferParameters`
 */
export function logitsObjective(
  teacher: CausalModel,
  student: CausalModel,
  length: number,
  trained: ReadonlySet<string>,
): Objective {
  const { labels: _, ...read } = packedInputs(length);
  return {
    inputs: read,
    loss(source, { inputs, weights }) {
      const rows = Number(inputs.shape[0]) * length;
      const original = teacherSource(source, student, trained);
      const flat = [parallelHidden(teacher, original, inputs), parallelHidden(student, source, inputs)] // [B,n,width]
        .map((hidden) => reshape(hidden, [rows, student.sizes.width]));
      const { vocabulary } = student.sizes;
      return sumOverPositions([...flat, reshape(weights, [rows])], vocabulary, ([target, features, weight]) => {
        return sum(mul(divergence(teacher.head(original, target), student.head(source, features)), weight));
      });
    },
  };
}

/** KL from softmax(taught) to softmax(own), logits [positions,V] → [positions]. */
export function divergence(taught: Value, logits: Value): Value {
  const [exact, other] = [softmax(taught), softmax(logits)];
  return sum(mul(exact, sub(logarithm(exact), logarithm(other))), [-1]);
}

/** ln p, at least the logarithm of the smallest normal number. */
export function logarithm(probabilities: Value): Value {
  return log(maximum(probabilities, leastProbability));
}
