/** How often a classifier is right, over all texts and class by class. */
import type { LabelledDataset } from '../../data/labelled.ts';
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { Classifier } from '../../models/classifier.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';

/** Tokens that one run works on, at least one row. */
const runTokens = 4096;

export interface ClassAccuracy {
  readonly label: string;
  /** Texts of the class. */
  readonly texts: number;
  /** Texts taken for it. */
  readonly predicted: number;
  /** Texts of it taken for it. */
  readonly correct: number;
}

export interface AccuracyResult {
  /** correct / texts. */
  readonly accuracy: number;
  readonly texts: number;
  readonly correct: number;
  /** In the order of the labels. */
  readonly classes: readonly ClassAccuracy[];
}

export interface AccuracyOptions {
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onProgress?: (texts: number, total: number) => void;
}

/**
 * Classifies every row of a data set once. Among equal logits the first class counts.
 * @throws LinnetError `ABORTED` when the signal fires between two batches
 * @example
 * ```ts
 * const { accuracy: share, classes } = await accuracy(classifier, parameters, dataset);
 * ```
 */
export async function accuracy(
  classifier: Classifier,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  { compile: compiled, signal, onProgress }: AccuracyOptions = {},
): Promise<AccuracyResult> {
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
  const counts = classifier.labels.map((label) => ({ label, texts: 0, predicted: 0, correct: 0 }));
  let correct = 0;
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
      const best = argmax(logits.subarray(row * classes, (row + 1) * classes));
      const truth = label.data[row];
      counts[truth].texts++;
      counts[best].predicted++;
      if (best === truth) {
        counts[truth].correct++;
        correct++;
      }
    }
    onProgress?.(first + count, total);
  }
  return { accuracy: correct / total, texts: total, correct, classes: counts };
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
