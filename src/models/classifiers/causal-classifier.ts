/**
 * Text classification with a causal model: one logit per class from the hidden state of the last real token, the only one
 * that has read the whole text. `score.weight` without a bias, as in Hugging Face's `ForSequenceClassification` models.
 */
import type { Value } from '../../graph/graph.ts';
import { add } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { int32 } from '../../graph/tensor.ts';
import { linear } from '../../nn/linear.ts';
import type { ClassifierParts, CausalModel } from '../model.ts';
import { parallelHidden } from '../graphs/parallel-graph.ts';

const scoreName = 'score';

/** A causal model as a classifier. @param className see `ClassifierParts` */
export function causalClassifier(
  model: CausalModel,
  className: string,
  { length: classes }: readonly string[],
): ClassifierParts {
  return {
    model,
    className,
    head: new Map([[`${scoreName}.weight`, { shape: [classes, model.sizes.width], role: 'matrix' }]]),
    logits: (source, { tokens, last }) =>
      linear(source, scoreName, lastStates(parallelHidden(model, source, tokens), last), classes),
  };
}

/** The hidden states [B,width] at each row's position `last` [B]. @param hidden [B,n,width] */
export function lastStates(hidden: Value, last: Value): Value {
  const [B, n, width] = hidden.shape.map(Number);
  const starts = Int32Array.from({ length: B }, (_, row) => row * n);
  return gather(reshape(hidden, [B * n, width]), add(last, hidden.graph.constant(int32([B], starts))));
}
