/** A conversion's training stages: each one's objective, data and trained parameters. */
import type { MixerConfig } from '../attention/mixer.ts';
import { type LoadedModel, type ModelWeights, openCausalWeights } from '../checkpoint/load-model.ts';
import type { AnyParameter } from '../checkpoint/stored-parameter.ts';
import { median } from '../evaluation/speed/timing.ts';
import { exchangedParameters, exchangeMixers, parametersOfMixers } from '../models/linearization/linearize.ts';
import type { CausalModel } from '../models/model.ts';
import {
  attentionParameters,
  logitsObjective,
  transferParameters,
  transferredLayers,
} from '../training/objectives/distillation.ts';
import { cachedLogitsObjective } from '../training/objectives/cached-logits.ts';
import { type Objective, causalObjective } from '../training/objectives/next-token.ts';
import { parseTrainingSettings, type TrainingInput, type TrainingSettings } from '../training/settings.ts';
import type { Lesson } from '../training/step-form.ts';

/** A model with its weights, in memory or in files. */
export interface Weighted<P extends AnyParameter = AnyParameter> {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, P>;
}

/** The model to convert. */
export type Original = Weighted & Pick<LoadedModel, 'path' | 'fingerprint'>;

/** `linearize` for weights in memory or in files. */
export function converted({ model, parameters }: Weighted, mixer: MixerConfig, layers: readonly number[]): Weighted {
  const changed = exchangeMixers(model, mixer, layers);
  return { model: changed, parameters: exchangedParameters(model, changed, parameters) };
}

/** The weights in a causal model's folder, read one by one. Dispose of it. */
export async function openReader(
  folder: string,
): Promise<Weighted & AsyncDisposable & Pick<ModelWeights, 'path' | 'fingerprint' | 'read'>> {
  return await openCausalWeights(folder);
}

export const trainingStageNames = ['transfer', 'logits', 'long'] as const;
export type TrainingStageName = (typeof trainingStageNames)[number];

/** Default training row in tokens, for one machine's memory; at most the trained length. */
const usualRow = 512;
/** Default measured window in tokens; at most the trained length. */
const usualWindow = 1024;

/** Tokens per training row. The model's trained length limits the default; it is not the default. */
export function rowLength({ sizes: { trainedLength } }: CausalModel, given?: number): number {
  return given ?? Math.min(usualRow, trainedLength);
}

/** Tokens per window of validation and test text. */
export function windowLength({ sizes: { trainedLength } }: CausalModel): number {
  return Math.min(usualWindow, trainedLength);
}

/** Optimizer steps by stage; 0 skips a stage. */
export type StageSteps = Readonly<Record<TrainingStageName, number>>;

/** One training stage. */
export interface TrainingStage {
  readonly name: TrainingStageName;
  /** Whether the whole model trains, or every layer by itself on the teacher's hidden states. */
  readonly by: 'model' | 'layers';
  readonly description: string;
  /** Share of the training time. */
  readonly share: number;
  /** Peak learning rates: the mixers' own parameters, and the weights shared with the original. */
  readonly mixerRate: number;
  readonly sharedRate: number;
  /** Tokens per row, as a multiple of the conversion's rows (`rowLength`). */
  readonly lengths: 1 | 2;
  /** Prepares training of the whole model; undefined if there is nothing to train, or layers train by themselves. */
  readonly prepare: (teacher: Weighted, student: Weighted, length: number) => PreparedStage | undefined;
}

/** A stage's lesson. */
export interface PreparedStage extends Lesson {
  /** The objective with `openCachedLogits` of k tokens. */
  readonly cached?: (k: number) => Objective;
}

/** A student learns its teacher's predictions. @param trained names of its parameters that change */
export function logitsLesson(
  teacher: Weighted,
  student: Weighted,
  trained: ReadonlySet<string>,
  length: number,
): PreparedStage {
  return {
    model: student.model,
    trained,
    parameters: transferParameters(student, teacher.parameters, trained),
    objective: (changed) => logitsObjective(teacher.model, student.model, length, changed),
    variant: { stage: 'logits' },
  };
}

/** The stages in order; see docs/convert.md for each one's effect. */
export const trainingStages: readonly TrainingStage[] = [
  {
    name: 'transfer',
    by: 'layers',
    description: 'every layer by itself mixes as the original does; only parameters of mixers change',
    share: 0.15,
    mixerRate: 1e-2,
    sharedRate: 0,
    lengths: 1,
    prepare: () => undefined,
  },
  {
    name: 'logits',
    by: 'model',
    description: 'the model predicts what the original predicts; parameters of mixers and attention change',
    share: 0.65,
    mixerRate: 1e-2,
    sharedRate: 1e-3,
    lengths: 1,
    prepare(teacher, student, length) {
      const trained = attentionParameters(teacher.model, student.model);
      const lesson = logitsLesson(teacher, student, trained, length);
      return { ...lesson, cached: (k) => cachedLogitsObjective(student.model, length, k) };
    },
  },
  {
    name: 'long',
    by: 'model',
    description: 'the next token in rows of twice the length; parameters of mixers change',
    share: 0.2,
    mixerRate: 1e-3,
    sharedRate: 0,
    lengths: 2,
    prepare(teacher, student, length) {
      const layers = transferredLayers(teacher.model, student.model);
      const trained = new Set(parametersOfMixers(student.model, layers).keys());
      if (trained.size === 0) return undefined;
      const objective = () => causalObjective(student.model, length);
      return { model: student.model, trained, parameters: student.parameters, objective, variant: { stage: 'long' } };
    },
  },
];

/** Default sequences per optimizer step. */
export const sequences = 8;

/** Whether a stage trains at all: it has optimizer steps, or time for some. */
export function isTrained(
  { name }: TrainingStage,
  { steps, budget }: { readonly steps?: StageSteps; readonly budget: number },
): boolean {
  return (steps?.[name] ?? budget) > 0;
}

/** Tokens per row in a stage. */
export function stageLength(
  { lengths }: TrainingStage,
  model: CausalModel,
  { length }: { readonly length?: number },
): number {
  return lengths * rowLength(model, length);
}

/** A stage's settings, from its rates. */
export function stageSettings(
  stage: TrainingStage,
  given: Pick<TrainingInput, 'length' | 'batch' | 'microBatch' | 'seed'> & { readonly steps: number },
): TrainingSettings {
  return parseTrainingSettings({
    ...given,
    learningRate: Math.max(stage.mixerRate, stage.sharedRate),
    schedule: 'cosine',
    warmup: Math.min(10, Math.floor(given.steps / 4)),
  });
}

/** Optimizer steps per trial; the first is slower than the others. */
export const timedSteps = 4;
/** Fewer teach nothing. */
export const fewestSteps = 4;

/**
 * Optimizer steps that fit into `seconds`, minus the trial already made and the preparation (graphs, compilation) that the
 * trial had and the training repeats; 0 for fewer than `fewestSteps`.
 * @param trial seconds of the whole trial
 * @param times seconds of its steps, at least two; the first does not count
 */
export function stepsWithin(seconds: number, trial: number, times: readonly number[]): number {
  const preparation = Math.max(0, trial - times.reduce((a, b) => a + b, 0));
  const steps = Math.floor((seconds - trial - preparation) / median(times.slice(1)));
  return steps < fewestSteps ? 0 : steps;
}
