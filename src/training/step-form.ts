/**
 * The form of an optimizer step of a model in files: with all weights in memory; layer by layer; or layer by layer with low-rank
 * updates instead of matrices, for a model whose matrices do not fit with their gradients and moments.
 */
import { type AnyParameter, segmentWeights } from '../checkpoint/stored-parameter.ts';
import { internalError } from '../errors.ts';
import { weightMatrices } from '../models/graphs/weight-matrices.ts';
import type { CausalModel } from '../models/model.ts';
import type { Lora } from '../nn/lora.ts';
import { selectParameters } from '../nn/parameters.ts';
import { trainLora } from './lora.ts';
import type { Objective } from './objectives/next-token.ts';
import type { TrainingSettings } from './settings.ts';
import { fitStep, type PlannedJob, type StepCost } from './step-cost.ts';
import type { TrainingJob } from './trainer.ts';

/** Forms of a step, the one that learns fastest first. */
export const stepForms = ['whole', 'layers', 'updates'] as const;
export type StepForm = (typeof stepForms)[number];

/** Rank and α of updates, as in the paper's fine-tuning. */
const updateScale = { rank: 8, alpha: 16 } as const;

/** A step in its form. */
export interface FormedStep {
  readonly form: StepForm;
  readonly cost: StepCost;
}

/** The trained part of a model, and its objective. */
export interface Lesson {
  readonly model: CausalModel;
  readonly trained: ReadonlySet<string>;
  /** @param changed names of parameters that change directly: all trained ones, or the ones without updates */
  readonly objective: (changed: ReadonlySet<string>) => Objective;
  /** All that the objective reads, as stored. */
  readonly parameters: ReadonlyMap<string, AnyParameter>;
  readonly variant: TrainingJob['variant'];
}

/** The parts of a training that depend on its form. */
type FormedJob = Pick<TrainingJob, 'model' | 'parameters' | 'weights' | 'objective' | 'trainable' | 'variant'> & {
  readonly lora?: Lora;
};

function trainedMatrices({ model, trained }: Pick<Lesson, 'model' | 'trained'>): Lora['matrices'] {
  return selectParameters(weightMatrices(model), (name) => trained.has(name));
}

/** The forms in which a lesson can be learned. */
export function formsOf(lesson: Lesson): readonly StepForm[] {
  return stepForms.filter((form) => form !== 'updates' || trainedMatrices(lesson).size > 0);
}

/** Names of the trained parameters that change themselves in a form. */
export function changedIn(form: StepForm, lesson: Pick<Lesson, 'model' | 'trained'>): ReadonlySet<string> {
  if (form !== 'updates') return lesson.trained;
  const matrices = trainedMatrices(lesson);
  return new Set([...lesson.trained].filter((name) => !matrices.has(name)));
}

/** The job of a lesson in a form. @param resident `changedIn` the form, in memory; all, in the form `whole` */
export function jobInForm(
  form: StepForm,
  lesson: Lesson,
  resident: TrainingJob['parameters'],
  seed: number,
): FormedJob {
  const changed = changedIn(form, lesson);
  const { model, variant } = lesson;
  const job = { model, objective: lesson.objective(changed), parameters: resident, variant };
  if (form === 'whole') return { ...job, trainable: (name) => changed.has(name) };
  const formed = {
    ...job,
    trainable: (name: string) => changed.has(name),
    weights: segmentWeights(selectParameters(lesson.parameters, (name) => !changed.has(name))),
    variant: { ...variant, form },
  };
  if (form === 'layers') return formed;
  const lora = { ...updateScale, matrices: trainedMatrices(lesson) };
  return { ...trainLora(formed, lora, changed, seed), lora };
}

/**
 * The first of some forms that fits, with the largest micro-batch; if none fits, the smallest.
 * @param besides memory not counted in a step's cost
 */
export function fitForm(
  forms: readonly StepForm[],
  jobOf: (form: StepForm) => Omit<PlannedJob, 'settings'>,
  settings: TrainingSettings,
  limit: number,
  besides: (form: StepForm) => number = () => 0,
): FormedStep {
  let least: FormedStep | undefined;
  for (const form of forms) {
    const beside = besides(form);
    const { cost } = fitStep({ ...jobOf(form), settings }, limit - beside);
    const step = { form, cost: { ...cost, bytes: cost.bytes + beside } };
    if (step.cost.bytes <= limit) return step;
    if (least === undefined || step.cost.bytes < least.cost.bytes) least = step;
  }
  if (least === undefined) throw internalError('a step has no form');
  return least;
}
