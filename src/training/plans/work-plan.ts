/** Memory, disk and time of work, known before it begins from the shapes of the model. */
import { memoryLimit, type TrainingOptions } from './options.ts';
import { fitStep, measureOperations, operationSeconds } from '../step-cost.ts';
import { totalUpdates } from '../trainer.ts';
import type { TrainingSettings } from '../settings.ts';
import type { TrainingPlan } from './plan.ts';

/** A stage before it runs; `tokens` are those that it reads to learn, or to be measured. */
export interface PlannedStage {
  readonly name: string;
  /** Tokens of a row. */
  readonly length: number;
  /** Rows that the engine reads at once. */
  readonly batch: number;
  readonly tokens: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly seconds: number;
}

/** Stages in their order, and the most memory that they may take. */
export interface WorkPlan {
  readonly stages: readonly PlannedStage[];
  readonly memoryLimitBytes: number;
}

/**
 * The plan of a training as work: one stage.
 * @param plan its weights are not looked at
 */
export async function planTraining(
  name: string,
  plan: TrainingPlan,
  { memory, device, threads }: Pick<TrainingOptions, 'memory' | 'device' | 'threads'>,
  given: TrainingSettings,
): Promise<WorkPlan> {
  const memoryLimitBytes = memoryLimit(memory);
  const { settings, cost } = fitStep({ ...plan, settings: given }, memoryLimitBytes);
  const steps = totalUpdates(plan.dataset, settings);
  const rate = await measureOperations({ device, threads });
  const stage = {
    ...{ name, length: plan.dataset.length, batch: cost.microBatch, memoryBytes: cost.bytes },
    tokens: steps * settings.batch * plan.dataset.length,
    // Two snapshots, and the result.
    diskBytes: 2 * cost.trainingBytes + cost.weightBytes + (plan.feature?.diskBytes ?? 0),
    seconds: steps * operationSeconds(cost.operations, rate),
  };
  return { stages: [stage], memoryLimitBytes };
}
