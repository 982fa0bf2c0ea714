/** The training of a trial: continued from its snapshots, and its whole learning curve. */
import { LinnetError } from '../../errors.ts';
import { elementCount } from '../../graph/tensor.ts';
import { train, type TrainingJob, type TrainingOutcome } from '../../training/trainer.ts';
import type { TrialHooks } from './study.ts';

/** A mean of losses, at the last of their steps. */
export interface CurvePoint {
  readonly update: number;
  readonly loss: number;
}

/** A finished training. */
export interface TrainedTrial extends Pick<TrainingOutcome, 'parameters' | 'evaluations'> {
  /** Mean training loss of the last tenth of the optimizer steps. */
  readonly loss: number;
  readonly tokensPerSecond: number;
  /** Training loss, means over neighbouring optimizer steps, those before a resume included. */
  readonly curve: readonly CurvePoint[];
}

const curvePoints = 60;

/**
 * Trains to the end.
 * @throws LinnetError `ABORTED` when the signal fires; with `snapshots` the next call goes on from there
 */
export async function trainTrial(
  job: Omit<TrainingJob, keyof TrialHooks>,
  { compile, signal, snapshots, onUpdate }: TrialHooks,
): Promise<TrainedTrial> {
  const outcome = await train({ ...job, compile, signal, snapshots, onUpdate: (event) => onUpdate?.(event) });
  const { updates, total, finished, losses, parameters, evaluations } = outcome;
  if (!finished) throw new LinnetError('ABORTED', `stopped after ${updates} of ${total} optimizer steps`);
  return {
    ...{ parameters, evaluations },
    loss: outcome.loss ?? Number.NaN,
    tokensPerSecond: outcome.tokensPerSecond ?? Number.NaN,
    curve: meansOfNeighbours(losses),
  };
}

function meansOfNeighbours(losses: readonly number[]): CurvePoint[] {
  const each = Math.max(1, Math.ceil(losses.length / curvePoints));
  return Array.from({ length: Math.ceil(losses.length / each) }, (_, at) => {
    const part = losses.slice(at * each, (at + 1) * each);
    return { update: at * each + part.length, loss: part.reduce((sum, loss) => sum + loss, 0) / part.length };
  });
}

/** Elements of all parameters of a model. */
export function parameterCount({ parameters }: Pick<TrainingJob['model'], 'parameters'>): number {
  let count = 0;
  for (const { shape } of parameters.values()) count += elementCount(shape);
  return count;
}
