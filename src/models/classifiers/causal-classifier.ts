/**
 * Text classification with a causal model: one logit per class from the hidden state of the last real token, the only
 * one that has read the whole text. As the `ForSequenceClassification` models of Hugging Face: `score.weight`, no bias.
 */
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { add } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { int32, type Tensor, tensor } from '../../graph/tensor.ts';
import { linear } from '../../nn/linear.ts';
import type { DeclaredParameters, ParameterSource } from '../../nn/parameters.ts';
import type { ClassifierParts, CausalModel } from '../model.ts';
import { parallelHidden } from '../graphs/parallel-graph.ts';

const scoreName = 'score';

/** The parameters that a classifier of `classes` classes adds to the model's backbone. */
export function scoreParameters(model: CausalModel, classes: number): DeclaredParameters {
  return new Map([[`${scoreName}.weight`, { shape: [classes, model.sizes.width], role: 'matrix' }]]);
}

/** A causal model as a classifier. @param className see `ClassifierParts` */
export function causalClassifier(model: CausalModel, className: string, labels: readonly string[]): ClassifierParts {
  return {
    model,
    className,
    head: scoreParameters(model, labels.length),
    logits: (source, { tokens, last }) => classLogits(model, source, tokens, rowsInBatch(tokens, last), labels.length),
  };
}

/** Positions `last` [B] in the rows of tokens [B,n] as rows of the batch: b·n + t. */
export function rowsInBatch(tokens: Value, last: Value): Value {
  const [B, n] = tokens.shape.map(Number);
  const starts = Int32Array.from({ length: B }, (_, row) => row * n);
  return add(last, tokens.graph.constant(int32([B], starts)));
}

/**
 * Logits of the classes.
 *
 * @param tokens int32 [B,n] of static shape, padded at the end
 * @param lastTokens int32 [B]: the last real token of every row as b·n + t, as `lastTokenRows` makes it
 * @returns [B,classes]
 */
export function classLogits(
  model: CausalModel,
  source: ParameterSource,
  tokens: Value,
  lastTokens: Value,
  classes: number,
): Value {
  const { width } = model.sizes;
  const [B, n] = tokens.shape.map(Number);
  const hidden = reshape(parallelHidden(model, source, tokens), [B * n, width]);
  return linear(source, scoreName, gather(hidden, lastTokens), classes);
}

/**
 * Where the last real token of every row is, as b·n + t: int32 [B].
 *
 * @param mask B·n values in row-major order, 0 on padding
 * @throws LinnetError `INPUT` for a mask of another size or a row without a token
 */
export function lastTokenRows(mask: ArrayLike<number>, batch: number, length: number): Tensor {
  if (mask.length !== batch * length) {
    throw new LinnetError('INPUT', `a batch of ${batch} × ${length} tokens has a mask of ${mask.length} values`);
  }
  const rows = Int32Array.from({ length: batch }, (_, row) => {
    for (let t = length - 1; t >= 0; t--) if (mask[row * length + t] !== 0) return row * length + t;
    throw new LinnetError('INPUT', `row ${row} of the batch has no token to classify: all of it is padding`);
  });
  return tensor('int32', [batch], rows);
}
