/** Learning rates over the optimizer steps of a run. */
import { LinnetError } from '../errors.ts';

export const scheduleNames = ['constant', 'linear', 'cosine'] as const;
/** The shape of the learning rate after the warm-up. */
export type ScheduleName = (typeof scheduleNames)[number];

/** A learning rate over the optimizer steps of a run. */
export interface ScheduleConfig {
  /** Its shape after the warm-up. */
  readonly name: ScheduleName;
  /** The learning rate after warm-up. */
  readonly peak: number;
  /** Optimizer steps over which the rate rises linearly from 0; optimizer step 0 then has rate 0. */
  readonly warmup: number;
  /** Optimizer steps in all: where `linear` and `cosine` reach 0. */
  readonly total: number;
}

/** Share of the peak, from the progress between the end of the warm-up (0) and the end of the run (1). */
const decays: Readonly<Record<ScheduleName, (progress: number) => number>> = {
  constant: () => 1,
  linear: (progress) => 1 - progress,
  cosine: (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)),
};

/**
 * The learning rate of an optimizer step.
 *
 * @param update counted from 0
 * @throws LinnetError `CONFIG` if the warm-up is longer than the run
 */
export function learningRate(config: ScheduleConfig, update: number): number {
  const { peak, warmup, total } = config;
  if (warmup > total) {
    throw new LinnetError(
      'CONFIG',
      `a warm-up of ${warmup} optimizer steps does not fit a run of ${total}; shorten the warm-up`,
    );
  }
  if (update < warmup) return (peak * update) / warmup;
  const progress = total > warmup ? Math.min(1, (update - warmup) / (total - warmup)) : 1;
  return peak * decays[config.name](progress);
}
