/**
 * Classification as text to text, as T5 was trained (Raffel et al., arXiv 1910.10683, appendix D): the source names the
 * task and its columns, the target is the word of the label, or the number rounded to 0.2.
 */
import type { LabelledText } from '../../data/datasets/labelled.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { LinnetError } from '../../errors.ts';
import { argmax } from '../../evaluation/tasks/classifier-outputs.ts';
import { Graph } from '../../graph/graph.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { sum } from '../../graph/ops/reduce.ts';
import { crossEntropy } from '../../graph/ops/softmax.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { ClassificationTask } from './glue.ts';

/** Tokens that one run works on, at least one row. */
const runTokens = 4096;
/** Numbers of STS-B are 0 to 5. */
const roundedNumbers = Array.from({ length: 26 }, (_, fifths) => (fifths / 5).toFixed(1));

/** A label as a target, or a target as a label. */
export interface TextLabels {
  /** What may be written. */
  readonly targets: readonly string[];
  /** Index of the target of a label. */
  readonly targetOf: (label: string) => number;
}

/** The targets of a task. @param labels names of its classes; undefined for numbers */
export function textLabels({ words }: ClassificationTask, labels: readonly string[] | undefined): TextLabels {
  if (labels === undefined || words === undefined) {
    const closest = (label: string): number => Math.round(Math.max(0, Math.min(5, Number(label))) * 5);
    return { targets: roundedNumbers, targetOf: closest };
  }
  return { targets: words, targetOf: (label) => labels.indexOf(label) };
}

/** Input text of the model: `mrpc sentence1: … sentence2: …`. */
export function sourceText({ name, columns }: ClassificationTask, { text, pair }: LabelledText): string {
  const [first, second] = columns;
  const rest = second === undefined ? '' : ` ${second}: ${pair ?? ''}`;
  return `${name.replace(/_mismatched$/, '')} ${first}: ${text}${rest}`;
}

/** How targets are read and ranked. */
export interface RankingOptions {
  /** Most tokens of a source. */
  readonly length: number;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
}

/**
 * The most probable of the targets for each source, by the sum of the log-likelihoods of its tokens: what greedy decoding
 * writes if it writes one of them, and never none of them.
 * @throws LinnetError `ABORTED` when the signal fires
 */
export async function rankTargets(
  model: EncoderDecoderModel,
  parameters: ReadonlyMap<string, Tensor>,
  tokenizer: Tokenizer,
  sources: readonly string[],
  targets: readonly string[],
  { length, compile: compiled, signal }: RankingOptions,
): Promise<number[]> {
  const pairs = sources.flatMap((source) => targets.map((target) => ({ source, target })));
  const dataset = new TextPairDataset(pairs, tokenizer, { length, startId: model.startId });
  const { source: n, target: m } = dataset.lengths;
  const B = Math.max(1, Math.min(pairs.length, Math.floor(runTokens / (n + m))));
  await using program = await compile(losses(model, parameters, B, n, m), compiled);
  const likelihoods: number[] = [];
  for (let first = 0; first < pairs.length; first += B) {
    if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped after ${first} of ${pairs.length} targets`);
    const count = Math.min(B, pairs.length - first);
    // The last batch is filled with its first row.
    const visits = Array.from({ length: B }, (_, i) => ({ row: i < count ? first + i : first, epoch: 0 }));
    const nats = dataOf((await program.run(dataset.batch(visits), ['nats'])).nats, 'float32');
    for (let row = 0; row < count; row++) likelihoods.push(-nats[row]);
  }
  return sources.map((_, row) => argmax(likelihoods.slice(row * targets.length, (row + 1) * targets.length)));
}

/** −log p of the target of every row, [B]. */
function losses(
  model: EncoderDecoderModel,
  parameters: ReadonlyMap<string, Tensor>,
  B: number,
  n: number,
  m: number,
): Graph {
  const graph = new Graph('targets');
  const source = new WeightParameters(graph, parameters);
  const mask = graph.input('sourceMask', 'float32', [B, n]);
  const encoded = model.encode(source, { tokens: graph.input('source', 'int32', [B, n]), mask });
  const inputs = graph.input('inputs', 'int32', [B, m]);
  const hidden = model.decode(source, { tokens: inputs, encoded, encodedMask: mask }); // [B,m,width]
  const logits = model.head(source, reshape(hidden, [B * m, model.sizes.width])); // [B*m,V]
  const labels = reshape(graph.input('labels', 'int32', [B, m]), [B * m]);
  const nats = reshape(crossEntropy(logits, labels), [B, m]);
  graph.output('nats', sum(mul(nats, graph.input('weights', 'float32', [B, m])), [1]));
  return graph;
}
