/** A lesson of the models of a sweep: text or a task, as a job of training and a measurement. */
import type { Model } from '../../models/model.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import type { TrainingJob } from '../../training/trainer.ts';
import type { TrialHooks } from '../frame/study.ts';
import type { StartingModel, TrainedTrial } from '../frame/train-trial.ts';
import type { SweepMeasured } from './plan.ts';

/** A lesson for one model with its mixers. */
export interface PreparedLesson extends Pick<TrainingJob, 'model' | 'objective' | 'dataset' | 'evaluation'> {
  /** Initial weights, if the trained model has more than the plan's. */
  readonly start?: (weights: TrainingJob['parameters']) => TrainingJob['parameters'];
  /** Identity of the held-out text or rows. */
  readonly measuredOn: () => Iterable<string>;
  readonly measure: (
    trained: TrainedTrial,
    hooks: TrialHooks,
  ) => Promise<Pick<SweepMeasured, 'perplexity' | 'measures' | 'texts'>>;
}

export interface SweepLesson {
  /** The name of a task; text has none. */
  readonly task?: string;
  /** Names the text or task, with the amounts learned and measured. */
  readonly extent: readonly [name: string, text: string];
  /** Number of measured tokens, or of a task's texts. */
  readonly measured: number;
  prepare(model: Model, settings: TrainingSettings): PreparedLesson;
}

/** A model of a plan, and its lessons with the settings of a seed. */
export interface SweepSubject {
  readonly start: StartingModel;
  readonly lessons: (settings: TrainingSettings) => Promise<readonly SweepLesson[]>;
}
