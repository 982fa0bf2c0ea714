/** Heads that a model in memory is given by training, as `medusa train` does from files. */
import type { PackedDataset } from '../../src/data/datasets/packing.ts';
import type { PairDataset } from '../../src/data/datasets/sequence-pairs.ts';
import type { WeightMap } from '../../src/graph/tensor.ts';
import { isMedusaParameter } from '../../src/models/medusa/medusa.ts';
import type { CausalModel, EncoderDecoderModel } from '../../src/models/model.ts';
import { selectParameters } from '../../src/nn/parameters.ts';
import {
  type HeadsSubject,
  medusaObjective,
  pairMedusaObjective,
  withHeads,
} from '../../src/training/objectives/draft-heads.ts';
import { computeHiddenStates, type HiddenStatePlace } from '../../src/training/objectives/hidden-states.ts';
import { train, type TrainingJob, type TrainingOutcome } from '../../src/training/trainer.ts';

interface HeadsOutcome extends Omit<TrainingOutcome, 'parameters'> {
  readonly heads: WeightMap;
  /** Parameters of the model: the given ones, or changed ones after joint training. */
  readonly base: WeightMap;
}

type Loop = Pick<TrainingJob, 'settings' | 'snapshots' | 'compile' | 'signal' | 'onUpdate'> & {
  /** Fingerprint of the model. */
  readonly origin: string;
};

export interface HeadsJob extends HeadsSubject, Loop {
  readonly model: CausalModel;
  readonly dataset: PackedDataset;
  /** Where hidden states of a frozen model are kept. */
  readonly hiddenStates?: HiddenStatePlace;
  readonly hiddenStateFolder?: string;
}

export interface PairHeadsJob extends HeadsSubject, Loop {
  readonly model: EncoderDecoderModel;
  readonly dataset: PairDataset;
}

function outcomeOf({ parameters, ...outcome }: TrainingOutcome): HeadsOutcome {
  const part = (ofHeads: boolean): WeightMap =>
    selectParameters(parameters, (name) => isMedusaParameter(name) === ofHeads);
  return { ...outcome, heads: part(true), base: part(false) };
}

export async function trainedHeads(job: HeadsJob): Promise<HeadsOutcome> {
  const { model, medusa, parameters, dataset, compile, signal, origin: fingerprint } = job;
  const { hiddenStates: place = 'memory', hiddenStateFolder: folder } = job;
  await using states =
    place === 'recompute' || medusa.joint !== undefined
      ? undefined
      : await computeHiddenStates({ model, parameters, fingerprint, dataset, place, folder, compile, signal });
  const objective = medusaObjective(medusa, model, dataset.length, states);
  const outcome = await train({ ...job, objective, feature: states, ...withHeads(job) });
  if (outcome.finished) await states?.remove();
  return outcomeOf(outcome);
}

export async function trainedPairHeads(job: PairHeadsJob): Promise<HeadsOutcome> {
  const objective = pairMedusaObjective(job.medusa, job.model, job.dataset.lengths);
  return outcomeOf(await train({ ...job, objective, ...withHeads(job) }));
}
