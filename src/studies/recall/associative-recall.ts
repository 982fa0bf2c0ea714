/** How many of the pairs that it has read a model recalls: the accuracy of its best guesses on rows of MQAR. */
import { z } from 'zod';
import { modelStateBytes } from '../../models/graphs/model-layout.ts';
import type { AssociativeRecall } from '../../data/datasets/associative-recall.ts';
import { LinnetError, requireRunning, type Stoppable } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Weights } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelLogits } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { argmax } from '../../graph/largest.ts';
import { share, whole } from '../../files/schema-values.ts';

const count = whole();

export const recallResult = z.strictObject({
  /** T and n of the rows. */
  length: count,
  pairs: count,
  /** Share of the questions whose value is the most probable token of all. */
  accuracy: share,
  questions: count,
  /** Accuracy by the distance of the value, in ranges that double: 1 … 31, 32 … 63, and so on. */
  byDistance: z.array(z.strictObject({ from: count, to: count, accuracy: share, questions: count })).readonly(),
  /** State of all layers in float32 after reading the row. */
  stateBytes: count,
});

export type AssociativeRecallResult = z.output<typeof recallResult>;

/** Logits of a run, in numbers: 64 MiB. */
const mostLogits = 1 << 24;
const firstRange = 32;

/**
 * Answers of the parallel form to the rows of the first epoch.
 * @throws LinnetError `MISMATCH` for rows with tokens outside the vocabulary, `ABORTED` between two runs
 */
export async function associativeRecall(
  model: CausalModel,
  parameters: Weights,
  data: AssociativeRecall,
  { signal, ...options }: CompileOptions & Stoppable = {},
): Promise<AssociativeRecallResult> {
  const { vocabulary } = model.sizes;
  const { length, pairs } = data;
  const rows = Math.max(1, Math.min(data.rows, 16, Math.floor(mostLogits / (length * vocabulary))));
  const graph = new Graph('recall');
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  graph.output('logits', parallelLogits(model, new WeightParameters(graph, parameters), inputs)); // [B,T,V]
  await using program = await compile(graph, options);
  const ranges: { right: number; questions: number }[] = [];
  for (let start = 0; start < data.rows; start += rows) {
    requireRunning(signal, `after ${start} of ${data.rows} rows`);
    // The last run reads some rows twice, to be as large as the others, and counts them once.
    const visits = Array.from({ length: rows }, (_, i) => ({ row: Math.min(start + i, data.rows - 1), epoch: 0 }));
    const batch = data.batch(visits);
    if (batch.inputs.data.some((token) => token >= vocabulary)) {
      throw new LinnetError('MISMATCH', `recall rows have tokens beyond the model's vocabulary of ${vocabulary}`);
    }
    const { logits } = await program.run({ inputs: batch.inputs }, ['logits']);
    const scores = dataOf(logits, 'float32');
    for (let row = 0; row < Math.min(rows, data.rows - start); row++) {
      for (let at = 0; at < length; at++) {
        const place = row * length + at;
        if (batch.weights.data[place] === 0) continue;
        const label = batch.labels.data[place];
        const reported = batch.inputs.data.indexOf(label, row * length) - row * length;
        const range = Math.max(0, 1 + Math.floor(Math.log2((at - reported) / firstRange)));
        ranges[range] ??= { right: 0, questions: 0 };
        ranges[range].questions++;
        if (argmax(scores.subarray(place * vocabulary, (place + 1) * vocabulary)) === label) ranges[range].right++;
      }
    }
  }
  const byDistance = ranges.map((counted, range) => ({
    from: range === 0 ? 1 : firstRange * 2 ** (range - 1),
    to: firstRange * 2 ** range - 1,
    accuracy: counted.right / counted.questions,
    questions: counted.questions,
  }));
  const sum = (of: (range: (typeof ranges)[number]) => number): number =>
    ranges.reduce((total, range) => total + of(range), 0);
  const questions = sum((range) => range.questions);
  return {
    length,
    pairs,
    questions,
    accuracy: sum(({ right }) => right) / questions,
    // Ranges without a question are holes in the list.
    byDistance: byDistance.filter(() => true),
    stateBytes: modelStateBytes(model, length),
  };
}
