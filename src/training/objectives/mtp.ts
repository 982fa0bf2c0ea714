/**
 * Training a layer of multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2), with one layer for all depths: pass d
 * reads the hidden states of pass d − 1 (of the model where d is 1) and the tokens d places on, and predicts those after them:
 *
 *     Σ_d decay^d Σ −log p_d(token t + 1 + d) · weight
 */
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { addAll, mul } from '../../graph/ops/elementwise.ts';
import { reshape, slice } from '../../graph/ops/layout.ts';
import { crossEntropy } from '../../graph/ops/softmax.ts';
import type { WeightMap } from '../../graph/tensor.ts';
import { freshParameter } from '../../models/initialize.ts';
import type { GeneratingModel, MtpLayer } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import type { NextTokenValues } from './next-token.ts';

/** The layer of a model. @throws LinnetError `CONFIG` for a model of a family, or of a configuration, without one */
export function mtpOf(model: GeneratingModel): MtpLayer {
  if (model.kind === 'causal' && model.mtp !== undefined) return model.mtp;
  throw new LinnetError(
    'CONFIG',
    `this ${model.family} model has no layer of multi-token prediction; those of qwen3_5 and qwen3_next have, with ` +
      '`mtp_num_hidden_layers` 1 in config.json; train Medusa heads (without `mtp`)',
  );
}

/** A fresh layer, as its roles say. */
export function initializeMtp(model: GeneratingModel, seed: number): WeightMap {
  const options = { random: new Random(seed), layers: model.sizes.layers };
  return new Map([...mtpOf(model).parameters].map(([name, declared]) => [name, freshParameter(declared, options)]));
}

/**
 * The loss of `passes` passes; like `nextTokenLoss` it is divided by the weight of all tokens later.
 * @param hidden of the model [B,n,width]
 */
export function mtpLoss(
  model: GeneratingModel,
  passes: { readonly heads: number; readonly decay: number },
  source: ParameterSource,
  hidden: Value,
  batch: Pick<NextTokenValues, 'labels' | 'weights'>,
): Value {
  const mtp = mtpOf(model);
  const [B, n] = batch.labels.shape.map(Number);
  let before = hidden;
  const losses = Array.from({ length: passes.heads }, (_, pass) => {
    const end = n - pass - 1;
    const given = slice(before, 1, 0, end);
    const layer = mtp.model(() => given);
    const states = parallelHidden(layer, source, slice(batch.labels, 1, pass, n - 1)); // [B,end,width]
    before = states;
    const wanted = (values: Value): Value => reshape(slice(values, 1, pass + 1, n), [B * end]);
    const logits = layer.head(source, reshape(states, [B * end, model.sizes.width]));
    const loss = crossEntropy(logits, wanted(batch.labels)); // [B*end]
    return mul(sum(mul(loss, wanted(batch.weights))), passes.decay ** (pass + 1));
  });
  return addAll(losses);
}
