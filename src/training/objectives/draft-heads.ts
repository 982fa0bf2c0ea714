/** Objectives of draft heads: Medusa's, and the layer of multi-token prediction. */
import { LinnetError } from '../../errors.ts';
import type { Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { add, addAll, mul } from '../../graph/ops/elementwise.ts';
import type { WeightMap, Weights } from '../../graph/tensor.ts';
import { reshape, slice } from '../../graph/ops/layout.ts';
import { crossEntropy } from '../../graph/ops/normalization.ts';
import { type MedusaConfig, headLogits, initializeMedusa, medusaParameters } from '../../models/medusa/medusa.ts';
import type { CausalModel, EncoderDecoderModel, GeneratingModel, ModelSizes, MtpLayer } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { packedInputs } from '../../data/datasets/packed-rows.ts';
import { type PairLengths, pairInputs } from '../../data/datasets/sequence-pairs.ts';
import { pairHidden } from './encoders.ts';
import { type NextTokenValues, type Objective, tokenLoss } from './next-token.ts';
import type { RowFeature } from '../updates.ts';
import { freshParameter } from '../../models/initialize.ts';
import { Random } from '../../random.ts';

// Training a layer of multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2), with one layer for all depths: pass d
// reads the hidden states of pass d − 1 (of the model where d is 1) and the tokens d places on, and predicts those after them:
//
//     Σ_d decay^d Σ −log p_d(token t + 1 + d) · weight

/** The layer of a model. @throws LinnetError `CONFIG` for a model of a family, or of a configuration, without one */
function mtpOf(model: GeneratingModel): MtpLayer {
  if (model.kind === 'causal' && model.mtp !== undefined) return model.mtp;
  throw new LinnetError(
    'CONFIG',
    `this ${model.family} model has no multi-token prediction layer; expected qwen3_5 or qwen3_next with ` +
      '`mtp_num_hidden_layers` of at least 1 in config.json; train Medusa heads instead (without `mtp`)',
  );
}

/** A fresh layer, as its roles say. */
function initializeMtp(model: GeneratingModel, seed: number): WeightMap {
  const options = { random: new Random(seed), layers: model.sizes.layers };
  return new Map([...mtpOf(model).parameters].map(([name, declared]) => [name, freshParameter(declared, options)]));
}

/**
 * The loss of `passes` passes; like `nextTokenLoss` it is divided by the weight of all tokens later.
 * @param hidden the model's hidden states [B,n,width]
 */
function mtpLoss(
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
    before = parallelHidden(layer, source, slice(batch.labels, 1, pass, n - 1)); // [B,end,width]
    const logits = layer.head(source, reshape(before, [B * end, model.sizes.width]));
    return lossAhead(logits, batch, pass + 1, passes.decay);
  });
  return addAll(losses);
}

/** decay^distance Σ −log p(token t + 1 + distance) · weight. @param logits at positions whose row reaches that far [B*(n − distance),V] */
function lossAhead(
  logits: Value,
  { labels, weights }: Pick<NextTokenValues, 'labels' | 'weights'>,
  distance: number,
  decay: number,
): Value {
  const ahead = (values: Value): Value =>
    reshape(slice(values, 1, distance, Number(values.shape[1])), [Number(logits.shape[0])]);
  return mul(sum(mul(crossEntropy(logits, ahead(labels)), ahead(weights))), decay ** distance);
}

// Training Medusa heads (arXiv 2401.10774, section 2.2). The loss of head i is the cross-entropy of token t + 1 + i:
//
//     heads alone (Medusa-1):   Σ_i decay^i · CE_i,  the model frozen
//     jointly (Medusa-2):       CE of the next token + weight · Σ_i decay^i · CE_i,  the model at a rate of its own
//
// It is the trainer's business like any objective: the model is described as having the heads' parameters too.

export interface MedusaTraining extends MedusaConfig {
  /** Weight of head i's loss is this to the power i; 0.8 in Medusa. */
  readonly decay: number;
  /** In place of heads: the model's layer of multi-token prediction, `heads` passes of it. Default: heads. */
  readonly mtp?: boolean;
  /** Trains the model too. */
  readonly joint?: {
    /** Weight of the heads' losses next to the next token's, 0.2 in Medusa. */
    readonly weight: number;
    /** Factor of the learning rate for the model's parameters. */
    readonly rateFactor: number;
  };
}

/** Default weights of the heads' losses: `decay` per head; `joint` for training with the backbone (Medusa-2). */
export const medusaTrainingDefaults = { decay: 0.8, joint: { weight: 0.2, rateFactor: 0.25 } } as const;

/** A model that heads are trained for. */
export interface HeadsSubject {
  readonly model: GeneratingModel;
  /** The model's parameters, and initial heads; without heads, fresh ones. */
  readonly parameters: Weights;
  /** Number and depth of heads, and how they are trained. */
  readonly medusa: MedusaTraining;
}

/**
 * The model with its heads and trained parameters, to spread into a `train` job with the objective `medusaObjective`;
 * the description lists the other settings that a resumed run must share.
 * @param seed draws a fresh layer of multi-token prediction; default 0
 */
export function withHeads({ model, medusa, parameters }: HeadsSubject, seed = 0) {
  const isMtp = medusa.mtp === true;
  const heads = isMtp ? mtpOf(model).parameters : medusaParameters(medusa, model.sizes);
  const fresh = isMtp ? initializeMtp(model, seed) : initializeMedusa(medusa, model, parameters);
  return {
    model: {
      parameters: new Map([...model.parameters, ...heads]),
      /** The description with the heads and how they are trained. */
      toJson: () => ({ ...model.toJson(), medusa }),
    },
    parameters: new Map([...fresh, ...parameters]),
    /** Trained parameters. Default: all, if the model is trained with its heads. */
    trainable: medusa.joint === undefined ? (name: string) => heads.has(name) : undefined,
    /** The factor of the learning rate, by a parameter's name. */
    rateFactor: (name: string) => (heads.has(name) ? 1 : (medusa.joint?.rateFactor ?? 1)),
  };
}

/**
 * The objective of a training run over rows of `length` predictions.
 * @param states hidden states of the frozen model; without them, it runs
 */
export function medusaObjective(
  medusa: MedusaTraining,
  model: CausalModel,
  length: number,
  states?: Pick<RowFeature, 'name' | 'shape'>,
): Objective {
  return {
    inputs: { ...packedInputs(length), ...(states && { [states.name]: { dtype: 'float32', shape: states.shape } }) },
    loss(source, values) {
      const { inputs, labels, weights } = values;
      const batch = { labels, weights };
      const hidden = states === undefined ? parallelHidden(model, source, inputs) : values[states.name]; // [B,n,width]
      return lossOf(medusa, model, source, hidden, batch);
    },
  };
}

/** The objective over pairs of `lengths`. */
export function pairMedusaObjective(
  medusa: MedusaTraining,
  model: EncoderDecoderModel,
  lengths: PairLengths,
): Objective {
  return {
    inputs: pairInputs(lengths),
    loss(parameters, { labels, weights, ...pairs }) {
      return lossOf(medusa, model, parameters, pairHidden(model, parameters, pairs), { labels, weights });
    },
  };
}

/** The loss of the heads, with the loss of the model in joint training. */
function lossOf(
  medusa: MedusaTraining,
  model: GeneratingModel,
  source: ParameterSource,
  hidden: Value,
  batch: Pick<NextTokenValues, 'labels' | 'weights'>,
): Value {
  const [, n] = batch.labels.shape.map(Number);
  if (n <= medusa.heads) {
    throw new LinnetError(
      'CONFIG',
      `rows of ${n} tokens are too short for ${medusa.heads} heads; give a length above ${medusa.heads}`,
    );
  }
  const heads =
    medusa.mtp === true
      ? mtpLoss(model, medusa, source, hidden, batch)
      : headLosses(medusa, model.sizes, source, hidden, batch);
  if (medusa.joint === undefined) return heads;
  return add(tokenLoss(model, source, hidden, batch), mul(heads, medusa.joint.weight));
}

/**
 * Σ_i decay^i Σ −log p_i(token t + 1 + i) · weight over the positions whose row reaches that far. Like `nextTokenLoss` it
 * is divided by the weight of all tokens later: heads far ahead have a few positions less to add up.
 */
function headLosses(
  medusa: MedusaTraining,
  sizes: Pick<ModelSizes, 'width' | 'vocabulary'>,
  source: ParameterSource,
  hidden: Value,
  batch: Pick<NextTokenValues, 'labels' | 'weights'>,
): Value {
  const [B, n] = batch.labels.shape.map(Number);
  const losses = Array.from({ length: medusa.heads }, (_, head) => {
    const offset = head + 1;
    const states = reshape(slice(hidden, 1, 0, n - offset), [B * (n - offset), sizes.width]);
    return lossAhead(headLogits(medusa, sizes, source, head, states), batch, offset, medusa.decay);
  });
  return addAll(losses);
}
