/** Outputs of a classifier for every row of a data set: the logits of its classes, or the number of a regression head. */
import type { LabelledDataset } from '../../data/datasets/labelled.ts';
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { Classifier } from '../../models/classifiers/classifier.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';

/** Tokens that one run works on, at least one row. */
const runTokens = 4096;

/** How a data set is run through a classifier. */
export interface AccuracyOptions {
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
  /** Called after every batch. */
  readonly onProgress?: (texts: number, total: number) => void;
}

/**
 * Runs every row once, in their order.
 * @param visit the logits [classes] of a row, valid during the call only, and its label
 * @throws LinnetError `ABORTED` when the signal fires between two batches
 */
export async function classifierOutputs(
  classifier: Classifier,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  { compile: compiled, signal, onProgress }: AccuracyOptions,
  visit: (logits: Float32Array, label: number) => void,
): Promise<void> {
  const { length, rows: total } = dataset;
  const classes = classifier.labels.length;
  const rows = Math.max(1, Math.min(total, Math.floor(runTokens / length)));
  const graph = new Graph('classification');
  const texts = {
    tokens: graph.input('tokens', 'int32', [rows, length]),
    mask: graph.input('mask', 'float32', [rows, length]),
    last: graph.input('last', 'int32', [rows]),
    segments: graph.input('segments', 'int32', [rows, length]),
  };
  graph.output('logits', classifier.classLogits(new WeightParameters(graph, parameters), texts));
  await using program = await compile(graph, compiled);
  for (let first = 0; first < total; first += rows) {
    if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped after ${first} of ${total} texts`);
    const count = Math.min(rows, total - first);
    // The last batch is filled with its first row.
    const visits = Array.from({ length: rows }, (_, i) => ({ row: i < count ? first + i : first, epoch: 0 }));
    const { tokens, mask, last, segments, label } = dataset.batch(visits);
    const all: Record<string, Tensor> = { tokens, mask, last, segments };
    const feeds = Object.fromEntries(Object.entries(all).filter(([name]) => program.inputs.has(name)));
    const logits = dataOf((await program.run(feeds, ['logits'])).logits, 'float32');
    for (let row = 0; row < count; row++) {
      visit(logits.subarray(row * classes, (row + 1) * classes), label.data[row]);
    }
    onProgress?.(first + count, total);
  }
}

/** The most probable class, the first among equals. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
