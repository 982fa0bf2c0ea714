/** How good a classifier is: its classes against the right ones, or the numbers of a regression head. */
import type { LabelledDataset } from '../../data/datasets/labelled.ts';
import { LinnetError, requireRunning, type Stoppable } from '../../errors.ts';
import { graphCost } from '../../graph/cost.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { ClassifierModel } from '../../models/classifiers/classifier.ts';
import { InputParameters, parameterCount, type ParameterSource, WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { onlyInputs } from '../../runtime/program.ts';
import { processBytes, timesKept } from '../../training/step-cost.ts';
import { type AccuracyResult, classQuality, numberQuality, type RegressionResult } from './metrics/quality.ts';
import { argmax } from '../../graph/largest.ts';

/** Tokens that one run works on, at least one row. */
const runTokens = 4096;

/** How a data set is run through a classifier. */
export interface AccuracyOptions extends Stoppable {
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Called after every batch. */
  readonly onProgress?: (texts: number, total: number) => void;
}

/**
 * Classifies every row of a data set once. Among equal logits the first class counts.
 * @throws LinnetError `ABORTED` when the signal fires between two batches; `MISMATCH` for a regression head
 * @example
 * ```ts
 * const { accuracy: share, classes } = await accuracy(classifier, parameters, dataset);
 * ```
 */
export async function accuracy(
  classifier: ClassifierModel,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  options: AccuracyOptions = {},
): Promise<AccuracyResult> {
  if (classifier.isRegression || dataset.labels === undefined) {
    throw new LinnetError(
      'MISMATCH',
      'a regression head, or data with numbers, has no classes; measure its regression',
    );
  }
  const { gold, predicted } = await predictions(classifier, parameters, dataset, options, argmax);
  return classQuality(classifier.labels, gold, predicted);
}

/**
 * The numbers of a regression head against the labels of a data set, which was made with `labels: undefined`.
 * @throws LinnetError `ABORTED` when the signal fires between two batches; `MISMATCH` for a classifier
 * @example
 * ```ts
 * const { pearson, spearman } = await regression(classifier, parameters, dataset);
 * ```
 */
export async function regression(
  classifier: ClassifierModel,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  options: AccuracyOptions = {},
): Promise<RegressionResult> {
  if (!classifier.isRegression || dataset.labels !== undefined) {
    throw new LinnetError(
      'MISMATCH',
      'a model with classes, or data with labels, has no regression; ask for its accuracy',
    );
  }
  const { gold, predicted } = await predictions(classifier, parameters, dataset, options, ([value]) => value);
  return numberQuality(gold, predicted);
}

/** Runs every row once, in their order. @param read the prediction from the logits [classes] of a row */
async function predictions(
  classifier: ClassifierModel,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  { compile: compiled, signal, onProgress }: AccuracyOptions,
  read: (logits: Float32Array) => number,
): Promise<{ gold: number[]; predicted: number[] }> {
  const { length, rows: total } = dataset;
  const classes = classifier.labels.length;
  const rows = Math.min(total, rowsAtOnce(length));
  const graph = classificationGraph(classifier, (part) => new WeightParameters(part, parameters), rows, length);
  await using program = await compile(graph, compiled);
  const gold: number[] = [];
  const predicted: number[] = [];
  for (let first = 0; first < total; first += rows) {
    requireRunning(signal, `after ${first} of ${total} texts`);
    const count = Math.min(rows, total - first);
    // The last batch is filled with its first row.
    const visits = Array.from({ length: rows }, (_, i) => ({ row: i < count ? first + i : first, epoch: 0 }));
    const { label, ...feeds } = dataset.batch(visits);
    const logits = dataOf((await program.run(onlyInputs(program, feeds), ['logits'])).logits, 'float32');
    for (let row = 0; row < count; row++) {
      gold.push(label.data[row]);
      predicted.push(read(logits.subarray(row * classes, (row + 1) * classes)));
    }
    onProgress?.(first + count, total);
  }
  return { gold, predicted };
}

function rowsAtOnce(length: number): number {
  return Math.max(1, Math.floor(runTokens / length));
}

/** `logits` [rows,classes] of texts of `length` tokens. */
function classificationGraph(
  classifier: ClassifierModel,
  sourceOf: (graph: Graph) => ParameterSource,
  rows: number,
  length: number,
): Graph {
  const graph = new Graph('classification');
  const texts = {
    tokens: graph.input('tokens', 'int32', [rows, length]),
    mask: graph.input('mask', 'float32', [rows, length]),
    last: graph.input('last', 'int32', [rows]),
    segments: graph.input('segments', 'int32', [rows, length]),
  };
  graph.output('logits', classifier.classLogits(sourceOf(graph), texts));
  return graph;
}

/** Copies of the weights at the peak, while the engine lays them out (measured at 0.5B: 5.69 GiB, estimated 5.65). */
const weightCopies = 2.75;

/** Memory of `accuracy` and `regression` over texts of `length` tokens, weights included. */
export function accuracyMemory(classifier: ClassifierModel, length: number): number {
  const graph = classificationGraph(classifier, (part) => new InputParameters(part), rowsAtOnce(length), length);
  return (
    processBytes +
    weightCopies * 4 * parameterCount(classifier.parameters) +
    timesKept(false) * graphCost(graph).peakBytes
  );
}
