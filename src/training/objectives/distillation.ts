/**
 * Attention transfer (Hedgehog, arXiv 2402.04347; LoLCATs, arXiv 2410.10254): before a converted model learns the next
 * token, its mixers learn to imitate the softmax attention that they replace. For every layer whose mixer differs,
 *
 *     loss = mean over heads and their width of (student's mixed values − teacher's)²,  summed over tokens, mean of layers
 *
 * where both mix the same q, k, v: the teacher runs, and in every layer its output is the next layer's input, so that no
 * layer suffers from another's errors. Mixed values are compared head by head, before the output
 * projection (which both share).
 */
import { packedInputs } from '../../data/datasets/packed-rows.ts';
import { mixerPreset } from '../../attention/presets.ts';
import type { AnyParameter } from '../../checkpoint/stored-parameter.ts';
import { LinnetError } from '../../errors.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { add, log, maximum, mul, sub } from '../../graph/ops/elementwise.ts';
import { softmax } from '../../graph/ops/normalization.ts';
import { mean } from '../../graph/ops/reduce.ts';
import { reshape } from '../../graph/ops/layout.ts';
import type { Value } from '../../graph/graph.ts';
import { exchangeableMixers, parametersOfMixers } from '../../models/linearization/linearize.ts';
import type { CausalModel } from '../../models/model.ts';
import { constantPositions, parallelHidden, parallelMix, parallelMixing } from '../../models/graphs/parallel-graph.ts';
import { type ParameterSource, consequencesOf } from '../../nn/parameters.ts';
import { type Objective, sumOverPositions } from './next-token.ts';

/** Layers whose mixers differ. @throws LinnetError `MISMATCH` for models that differ in more than their mixers */
export function transferredLayers(teacher: CausalModel, student: CausalModel): number[] {
  const shapes = ({ parameters }: CausalModel): string =>
    JSON.stringify([...parameters].filter(([, { role }]) => consequencesOf(role).group !== 'mixers'));
  if (teacher.family !== student.family || shapes(teacher) !== shapes(student)) {
    throw new LinnetError(
      'MISMATCH',
      'teacher and student differ in more than their mixers; give a model and its linearized copy',
    );
  }
  const layers = student.mixers.flatMap((mixer, layer) =>
    JSON.stringify(mixer) === JSON.stringify(teacher.mixers[layer]) ? [] : [layer],
  );
  const softmax = JSON.stringify(mixerPreset('softmax'));
  const isSoftmax = (model: CausalModel): boolean =>
    exchangeableMixers(model).every((mixer) => JSON.stringify(mixer) === softmax);
  if (isSoftmax(student) && !isSoftmax(teacher)) {
    throw new LinnetError(
      'MISMATCH',
      'teacher and student are swapped: only the student has softmax attention in every layer; give the original first, ' +
        'then the result of linearize',
    );
  }
  if (layers.length === 0)
    throw new LinnetError('MISMATCH', 'teacher and student have the same mixers; nothing to distill');
  return layers;
}

/** The names of all attention parameters, the mixers' included, in layers whose mixers differ. */
export function attentionParameters(teacher: CausalModel, student: CausalModel): ReadonlySet<string> {
  const prefixes = transferredLayers(teacher, student).map((layer) => `${student.attentionPrefix(layer)}.`);
  const names = [...student.parameters.keys()];
  return new Set(names.filter((name) => prefixes.some((prefix) => name.startsWith(prefix))));
}

/**
 * The names of the parameters that transfer trains: of the mixers that differ, and if asked for q and k.
 * @throws LinnetError `CONFIG` if the mixers have none
 */
export function transferredParameters(
  teacher: CausalModel,
  student: CausalModel,
  { queriesAndKeys }: { readonly queriesAndKeys: boolean },
): ReadonlySet<string> {
  const layers = transferredLayers(teacher, student);
  const names = new Set(parametersOfMixers(student, layers).keys());
  if (queriesAndKeys) {
    for (const [name, { role }] of student.parameters) {
      const isInLayer = layers.some((layer) => name.startsWith(`${student.attentionPrefix(layer)}.`));
      if (isInLayer && consequencesOf(role).makesQueriesOrKeys === true) names.add(name);
    }
  }
  if (names.size > 0) return names;
  throw new LinnetError(
    'CONFIG',
    'the student\'s mixers have no parameters to learn; also train the projections to queries and keys ("trainQk")',
  );
}

/**
 * The objective over rows as `PackedDataset` has them; labels are not read.
 *
 * The student's backbone runs on the teacher's mixed values. All parameters shared with the teacher are frozen, so that its
 * layers read the teacher's hidden states, and if q and k are also frozen, the runtime merges both backbones.
 *
 * @param trained names in `transferredParameters`; `transferParameters` names the teacher's own
 */
export function transferObjective(
  teacher: CausalModel,
  student: CausalModel,
  length: number,
  trained: ReadonlySet<string>,
): Objective {
  const layers = new Set(transferredLayers(teacher, student));
  const { labels: _, ...read } = packedInputs(length);
  return {
    inputs: read,
    loss(source, { inputs, weights }) {
      const [B, n] = inputs.shape.map(Number);
      const positions = constantPositions(student, source.graph, B, n);
      const mixed: Value[] = [];
      const original = teacherSource(source, student, trained);
      const [taught, learned] = [parallelMix(teacher, original), parallelMix(student, source)];
      const teaching = parallelMixing((layer, projected, scoring) => {
        return (mixed[layer] = taught(layer, projected, scoring));
      });
      teacher.backbone(original, inputs, positions, teaching);
      const errors: Value[] = [];
      const learning = parallelMixing((layer, projected, scoring) => {
        if (layers.has(layer)) {
          const difference = sub(learned(layer, projected, scoring), mixed[layer]); // [B,n,H,D]
          const perToken = reshape(mean(mul(difference, difference), [2, 3]), [B, n]);
          errors.push(sum(mul(perToken, weights)));
        }
        return mixed[layer];
      });
      student.backbone(source, inputs, positions, learning);
      const total = errors.reduce((a, b) => add(a, b));
      return mul(total, 1 / layers.size);
    },
  };
}

/** The teacher's parameters: shared ones from the student, its own under separate names. */
export function teacherSource(
  source: ParameterSource,
  student: CausalModel,
  trained: ReadonlySet<string>,
): ParameterSource {
  return {
    graph: source.graph,
    parameter: (name, shape) => source.parameter(isShared(student, trained, name) ? name : teacherName(name), shape),
  };
}

function isShared(student: CausalModel, trained: ReadonlySet<string>, name: string): boolean {
  return student.parameters.has(name) && !trained.has(name);
}

const teacherPrefix = 'teacher ';

/** Name of a teacher's own parameter, one the student lacks or has differently. */
function teacherName(name: string): string {
  return teacherPrefix + name;
}

/** The teacher's name of a parameter that `teacherSource` asks for. */
export function nameOfTeacher(asked: string): string {
  return asked.startsWith(teacherPrefix) ? asked.slice(teacherPrefix.length) : asked;
}

/**
 * The student's parameters, and the teacher's unshared ones under separate names. Values in files are not compared.
 * @throws LinnetError `MISMATCH` for a student whose other weights are not the teacher's
 */
export function transferParameters<P extends AnyParameter>(
  student: { readonly model: CausalModel; readonly parameters: ReadonlyMap<string, P> },
  teacher: ReadonlyMap<string, P>,
  trained: ReadonlySet<string>,
): Map<string, P> {
  for (const [name, value] of teacher) {
    const other = student.parameters.get(name);
    if (!isShared(student.model, trained, name) || other === undefined || other === value) continue;
    if (!('data' in value && 'data' in other) || value.data === other.data) continue;
    if (Buffer.compare(bytesOf(value.data), bytesOf(other.data)) !== 0) throw unequalNumbers(name);
  }
  const own = [...teacher].filter(([name]) => !isShared(student.model, trained, name));
  return new Map([...student.parameters, ...own.map(([name, value]) => [teacherName(name), value] as const)]);
}

/** The error of a parameter that teacher and student should share. */
export function unequalNumbers(name: string): LinnetError {
  return new LinnetError(
    'MISMATCH',
    `"${name}" differs between teacher and student; distill right after linearize, and fine-tune afterwards`,
  );
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

// Distillation by logits: after every token, the student's prediction approaches the teacher's,
//
//     loss = Σ_tokens KL(p_teacher ‖ p_student) = Σ_tokens Σ_v p_teacher(v) (ln p_teacher(v) − ln p_student(v)),
//
// with the student running on its own hidden states, so that later layers learn what earlier ones have changed. The text
// matters little, since the teacher judges it: also text sampled from the teacher serves.

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
