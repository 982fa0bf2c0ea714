/** A training plan: model, data, objective, and how the result is saved; its memory, disk and time, known before it begins. */
import { type LoadedModel, saveModel } from '../../checkpoint/load-model.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { EvaluationPlan } from '../held-out.ts';
import type { JsonValue } from '../../report/record.ts';
import { type TrainingJob, type TrainingOutcome, totalUpdates } from '../trainer.ts';
import type { KeptFeature } from '../updates.ts';
import { type TrainingOptions, memoryLimit } from './options.ts';
import type { TrainingSettings } from '../settings.ts';
import type { MemoryForm } from '../memory-form.ts';
import { measureOperations, operationSeconds, requireFit } from '../step-cost.ts';
import { LinnetError } from '../../errors.ts';
import { formatCount, formatDuration } from '../../report/quantities.ts';

export type ParameterMap = LoadedModel['parameters'];

/** Held-out data of a plan, and the objective for rows of its length. */
type HeldOutRows = Pick<EvaluationPlan, 'dataset' | 'objective'>;

/** A feature of rows that a run keeps in its folder. */
export interface PlannedFeature {
  readonly diskBytes: number;
  readonly open: (folder: string, compile: CompileOptions) => Promise<KeptFeature>;
}

/** A model, its data and its loss, ready to be trained, recorded and saved. `Details` are the further results of saving. */
export interface TrainingPlan<Details extends object = object>
  extends Pick<
    TrainingJob,
    'model' | 'parameters' | 'weights' | 'dataset' | 'objective' | 'trainable' | 'rateFactor' | 'variant'
  > {
  /** Identity of the initial weights; undefined if the seed determines them. */
  readonly origin?: string;
  /** The held-out part, as rows of the same kind; absent if nothing can be measured on them. */
  readonly heldOutRows?: () => Promise<HeldOutRows>;
  /** Tokens of the longest text that the model was trained for; longer rows are trained, with a warning. */
  readonly trainedLength?: number;
  /** The data, and the form of an adaptation: "12 documents, 3,456 tokens in 7 rows". */
  readonly summary: string;
  /** Further fields of the record, next to model, settings and data. */
  readonly configuration?: Readonly<Record<string, JsonValue>>;
  readonly feature?: PlannedFeature;
  /** Weights in memory outside a step's graph. Default: none. */
  readonly otherWeightBytes?: number;
  /** Default: `train`; `folder` is the run's. */
  readonly train?: (job: TrainingJob, folder: string) => Promise<TrainingOutcome>;
  /** Saves the trained parameters, and returns the further results about them. */
  readonly save: (out: string, trained: ParameterMap) => Promise<Details>;
}

/** A model that can be saved under the names of its parameters. */
type Savable = Parameters<typeof saveModel>[1]['model'] & TrainingPlan['model'];

/** The default part of a plan for a loaded model: its parameters, saved in the form in which they were loaded. */
export function modelPlan(
  { model, parameters, fingerprint, path: from }: LoadedModel<Savable>,
  { dtype, replace }: Pick<TrainingOptions, 'dtype' | 'replace'>,
): Pick<TrainingPlan, 'model' | 'parameters' | 'origin' | 'save'> {
  return {
    model,
    parameters,
    origin: fingerprint,
    async save(out, trained) {
      // Includes optional parameters, which are not trained.
      const all = new Map([...parameters, ...trained]);
      await saveModel(out, { model, parameters: all }, { tokenizerFiles: { from }, dtype, replace });
      return {};
    },
  };
}

/** A stage before it runs; it reads `tokens` for training or measuring. */
export interface PlannedStage {
  readonly name: string;
  /** Tokens of a row. */
  readonly length: number;
  /** Rows that the engine reads at once. */
  readonly batch: number;
  readonly tokens: number;
  readonly memoryBytes: number;
  /** Whether all weights are in memory, or one layer's at a time. */
  readonly form: MemoryForm;
  readonly diskBytes: number;
  readonly seconds: number;
}

/** Stages in their order, and the most memory that they may take. */
export interface WorkPlan {
  /** See `TrainingPlan`. Default: none. */
  readonly summary?: string;
  readonly stages: readonly PlannedStage[];
  readonly memoryLimitBytes: number;
}

/** The plan of a training as work: one stage. @param plan its weights are not looked at */
export async function planTraining(
  name: string,
  plan: TrainingPlan,
  { memory, device, threads }: Pick<TrainingOptions, 'memory' | 'device' | 'threads'>,
  given: TrainingSettings,
): Promise<WorkPlan> {
  const memoryLimitBytes = memoryLimit(memory);
  const { settings, cost } = requireFit({ ...plan, settings: given }, memoryLimitBytes);
  const steps = totalUpdates(plan.dataset, settings);
  const rate = await measureOperations({ device, threads });
  const stage = {
    name,
    length: plan.dataset.length,
    batch: cost.microBatch,
    memoryBytes: cost.bytes,
    form: plan.weights === undefined ? ('whole' as const) : ('layers' as const),
    tokens: steps * settings.batch * plan.dataset.length,
    // Two snapshots, and the result.
    diskBytes: 2 * cost.trainingBytes + cost.weightBytes + (plan.feature?.diskBytes ?? 0),
    seconds: steps * operationSeconds(cost.operations, rate),
  };
  return { summary: plan.summary, stages: [stage], memoryLimitBytes };
}

// Training time: refused if no machine can do it, else announced. See `step-cost.ts` for its memory.

/** The losses of all steps are kept, and in every snapshot: 80 MB at the limit. At ten a second they take two weeks. */
const mostSteps = 10_000_000;

/** From here on a training is announced with the time it will take. */
const longSeconds = 3 * 24 * 3600;

/** @throws LinnetError `CONFIG` for a training of more than ten million steps */
export function requireFewSteps(steps: number): void {
  if (steps <= mostSteps) return;
  throw new LinnetError(
    'CONFIG',
    `the training would take ${formatCount(steps)} optimizer steps, expected at most ${formatCount(mostSteps)}; ` +
      'give fewer `steps` or `epochs`, or a larger `batch`',
  );
}

/** A warning once the pace is known; undefined for a training of some days. */
export function paceWarning(secondsPerStep: number, stepsLeft: number): string | undefined {
  const seconds = secondsPerStep * stepsLeft;
  if (!(seconds > longSeconds)) return undefined;
  return `at ${formatDuration(secondsPerStep)} a step, the remaining ${formatCount(stepsLeft)} steps take about ${formatCount(Math.round(seconds / 86400))} days`;
}
