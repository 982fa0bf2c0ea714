/** What the record of a study keeps of its trials while they train. */
import type { Run } from '../../report/record.ts';
import type { UpdateEvent } from '../../training/trainer.ts';

/** Lines that a trial has in the record at most: its curve is to be seen, not every batch. */
const mostLines = 200;

/** Records every so many optimizer steps of a trial. @param trial names it in the record */
export function recordUpdate(run: Run, trial: string, { update, total, ...event }: UpdateEvent): void {
  if (update % Math.ceil(total / mostLines) !== 0) return;
  const { loss, gradientNorm, learningRate, seconds } = event;
  run.log({ trial, update, loss, gradientNorm, learningRate, seconds });
}
