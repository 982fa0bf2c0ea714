/** Measures a classifier: its classes against the true ones, or a regression head's numbers. */
import { type AnyParameter, layeredWeights, segmentWeights } from '../../checkpoint/stored-parameter.ts';
import type { LabelledDataset } from '../../data/datasets/labelled.ts';
import { LinnetError, type Stoppable } from '../../errors.ts';
import { graphCost } from '../../graph/cost.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf } from '../../graph/tensor.ts';
import type { ClassifierModel } from '../../models/classifiers/classifier.ts';
import { InputParameters, parameterCount } from '../../nn/parameters.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { compileWeighted, runWeighted, segmentedBytes } from '../../runtime/weighted-program.ts';
import type { MemoryForm } from '../../training/memory-form.ts';
import { rowsAtOnce } from '../../training/objectives/hidden-states.ts';
import { processBytes, runsLean, timesKept } from '../../training/step-cost.ts';
import { type AccuracyResult, classQuality, numberQuality, type RegressionResult } from './metrics/quality.ts';
import { argmax } from '../../graph/largest.ts';

/** How to run a data set through a classifier. */
export interface AccuracyOptions extends Stoppable {
  /** Threads and device. Default: all CPU cores. */
  readonly compile?: CompileOptions;
  /** Called after every batch. */
  readonly onProgress?: (texts: number, total: number) => void;
}

/**
 * Classifies every row of a data set once; layer by layer if parameters are in files. Among equal logits the first class wins.
 * @throws LinnetError `ABORTED` when the signal fires between two batches; `MISMATCH` for a regression head
 * @example
 * ```ts
 * const { accuracy: share, classes } = await accuracy(classifier, parameters, dataset);
 * ```
 */
export async function accuracy(
  classifier: ClassifierModel,
  parameters: ReadonlyMap<string, AnyParameter>,
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
 * A regression head's numbers against a data set's labels; the data set is made with `labels: undefined`.
 * @throws LinnetError `ABORTED` when the signal fires between two batches; `MISMATCH` for a classifier
 * @example
 * ```ts
 * const { pearson, spearman } = await regression(classifier, parameters, dataset);
 * ```
 */
export async function regression(
  classifier: ClassifierModel,
  parameters: ReadonlyMap<string, AnyParameter>,
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

/** Runs every row once, in order. @param read the prediction from a row's logits [classes] */
async function predictions(
  classifier: ClassifierModel,
  parameters: ReadonlyMap<string, AnyParameter>,
  dataset: LabelledDataset,
  { compile: compiled, signal, onProgress }: AccuracyOptions,
  read: (logits: Float32Array) => number,
): Promise<{ gold: number[]; predicted: number[] }> {
  const { length, rows: total } = dataset;
  const classes = classifier.labels.length;
  const rows = Math.min(total, rowsAtOnce(length));
  const weights = layeredWeights(parameters);
  const lean = runsLean(classifier.parameters, compiled?.device);
  const graph = classificationGraph(classifier, rows, length);
  await using program = await compileWeighted(graph, weights, { lean, ...compiled });
  const gold: number[] = [];
  const predicted: number[] = [];
  const runs = Array.from({ length: Math.ceil(total / rows) }, (_, batch) => ({
    program,
    feeds() {
      // The last batch is filled with its first row.
      const first = batch * rows;
      const visits = Array.from({ length: rows }, (_, i) => ({ row: first + i < total ? first + i : first, epoch: 0 }));
      const { label, ...feeds } = dataset.batch(visits);
      gold.push(...Array.from(label.data).slice(0, total - first));
      return feeds;
    },
  }));
  for await (const results of runWeighted(runs, weights ?? segmentWeights(parameters), signal)) {
    const logits = dataOf(results.logits, 'float32');
    for (let row = 0; row < rows && predicted.length < total; row++) {
      predicted.push(read(logits.subarray(row * classes, (row + 1) * classes)));
    }
    onProgress?.(predicted.length, total);
  }
  return { gold, predicted };
}

/** `logits` [rows,classes] for texts of `length` tokens; parameters are inputs. */
function classificationGraph(classifier: ClassifierModel, rows: number, length: number): Graph {
  const graph = new Graph('classification');
  const texts = {
    tokens: graph.input('tokens', 'int32', [rows, length]),
    mask: graph.input('mask', 'float32', [rows, length]),
    last: graph.input('last', 'int32', [rows]),
    segments: graph.input('segments', 'int32', [rows, length]),
  };
  graph.output('logits', classifier.classLogits(new InputParameters(graph), texts));
  return graph;
}

/**
 * Memory of `accuracy` and `regression` over texts of `length` tokens, with all parameters in memory, and layer by layer.
 * @param weights parameters as they would be read
 */
export function accuracyMemory(
  classifier: ClassifierModel,
  texts: { readonly count: number; readonly length: number },
  weights: SegmentWeights,
): Record<MemoryForm, number> {
  const rows = rowsAtOnce(texts.length);
  const graph = classificationGraph(classifier, rows, texts.length);
  const kept = timesKept(runsLean(classifier.parameters));
  return {
    whole: processBytes + 4 * parameterCount(classifier.parameters) + kept * graphCost(graph).peakBytes,
    layers: processBytes + segmentedBytes(graph, weights, texts.count / rows),
  };
}
