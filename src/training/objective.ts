/** What training minimises. */
import type { Value } from '../graph/graph.ts';
import { mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import { sum } from '../graph/ops/reduce.ts';
import { crossEntropy } from '../graph/ops/softmax.ts';
import type { CausalModel } from '../models/model.ts';
import { parallelHidden } from '../models/parallel-graph.ts';
import type { ParameterSource } from '../nn/parameters.ts';

/** A batch as graph inputs. */
export interface BatchValues {
  /** int32 [B,n]: tokens the model reads. */
  readonly inputs: Value;
  /** int32 [B,n]: the token that follows each. */
  readonly labels: Value;
  /** float32 [B,n]: weight of each prediction, 0 on padding. */
  readonly weights: Value;
  /** What the objective reads besides, by name: see `RowFeature`. */
  readonly features?: ReadonlyMap<string, Value>;
}

/** Σ −log p(label) · weight over a batch, in nats: a scalar. Divide by the sum of weights for the mean. */
export function nextTokenLoss(model: CausalModel, source: ParameterSource, batch: BatchValues): Value {
  const hidden = parallelHidden(model, source, batch.inputs); // [B,n,width]
  const rows = Number(batch.inputs.shape[0]) * Number(batch.inputs.shape[1]);
  const logits = model.head(source, reshape(hidden, [rows, model.sizes.width])); // [B*n,V]
  const losses = crossEntropy(logits, reshape(batch.labels, [rows])); // [B*n]
  return sum(mul(losses, reshape(batch.weights, [rows])));
}
