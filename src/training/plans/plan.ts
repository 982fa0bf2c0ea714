/** What a training plan is: what is trained, on what, by which loss, and what becomes of it. */
import { type LoadedModel, saveModel } from '../../checkpoint/load-model.ts';
import type { RowDataset } from '../../data/rows/row-dataset.ts';
import type { Objective } from '../objectives/next-token.ts';
import type { JsonValue } from '../../report/record.ts';
import type { TrainingJob, TrainingOutcome } from '../trainer.ts';
import type { TrainingOptions } from './options.ts';

/** All parameters of a model, by name. */
export type ParameterMap = LoadedModel['parameters'];

/** Held-out data of a plan, and the objective for rows of its length. */
export interface HeldOutRows {
  readonly dataset: RowDataset;
  readonly objective: Objective;
}

/** A model, its data and its loss, ready to be trained, recorded and saved. `Details` is what saving tells of the result. */
export interface TrainingPlan<Details extends object = object>
  extends Pick<TrainingJob, 'model' | 'parameters' | 'dataset' | 'objective' | 'trainable' | 'rateFactor' | 'variant'> {
  /** Of the weights that training starts from; undefined where they follow from the seed. */
  readonly origin?: string;
  /** What `heldOut` leaves out, as rows of the same kind; absent where nothing can be measured on them. */
  readonly heldOutRows?: () => Promise<HeldOutRows>;
  /** Tokens of the longest text that the model was trained for; longer rows are trained, with a warning. */
  readonly trainedLength?: number;
  /** What the data is, for people: "12 documents, 3,456 tokens in 7 rows". */
  readonly summary: string;
  /** What the record says next to model, settings and data. */
  readonly configuration?: Readonly<Record<string, JsonValue>>;
  /** Default: `train`; `folder` is that of the run. */
  readonly train?: (job: TrainingJob, folder: string) => Promise<TrainingOutcome>;
  /** Saves what was trained, and returns what is reported about it. */
  readonly save: (out: string, trained: ParameterMap) => Promise<Details>;
}

/** What can be saved under the names of its parameters. */
type Savable = Parameters<typeof saveModel>[1]['model'] & TrainingPlan['model'];

/** The part of a plan that follows from a loaded model: its parameters, and that it is saved as it was loaded. */
export function modelPlan(
  {
    model,
    parameters,
    fingerprint,
    path: from,
  }: Omit<LoadedModel, 'model'> & {
    readonly model: Savable;
  },
  { dtype, replace }: Pick<TrainingOptions, 'dtype' | 'replace'>,
): Pick<TrainingPlan, 'model' | 'parameters' | 'origin' | 'save'> {
  return {
    model,
    parameters,
    origin: fingerprint,
    async save(out, trained) {
      await saveModel(out, { model, parameters: trained }, { tokenizerFiles: { from }, dtype, replace });
      return {};
    },
  };
}
