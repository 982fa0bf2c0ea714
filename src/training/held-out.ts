/** Loss on held-out text, measured during training. */
import type { BatchTensors, RowDataset, RowVisit } from '../data/rows/row-dataset.ts';
import { LinnetError, requireRunning } from '../errors.ts';
import { dataOf, float32, type Tensor, tensor } from '../graph/tensor.ts';
import { onlyInputs, type Program } from '../runtime/program.ts';
import { type Objective, weightsInput } from './objectives/next-token.ts';
import type { ParameterBlock } from './parameter-blocks.ts';
import { lossGraph, type TrainingProgramOptions } from './step-program.ts';

/** A measurement on held-out data. */
export interface Evaluation {
  /** Optimizer steps done. */
  readonly update: number;
  /** Mean of the objective over all held-out predictions. */
  readonly loss: number;
}

/** Measurements during training. */
export interface EvaluationPlan {
  /** Rows of the same kind as the training rows. */
  readonly dataset: RowDataset;
  /** The objective of the run, for rows of this length. */
  readonly objective: Objective;
  /** Optimizer steps from one measurement to the next; the last step is measured too. */
  readonly every: number;
  /** Ends the run after this many measurements without a new lowest loss; default: never. */
  readonly patience?: number;
  /** The run's final parameters: the ones of the lowest loss, or the last. */
  readonly keep: 'best' | 'last';
  readonly onEvaluation?: (evaluation: Evaluation & { readonly isBest: boolean }) => void;
}

type Blocks = ReadonlyMap<string, Tensor<'float32'>>;

/** The lowest of some measurements, the first of equal ones. */
export function lowest(evaluations: readonly Evaluation[]): Evaluation | undefined {
  return evaluations.reduce<Evaluation | undefined>(
    (best, next) => (best === undefined || next.loss < best.loss ? next : best),
    undefined,
  );
}

/** Whether the last `patience` measurements brought no new lowest loss. */
export function isExhausted(evaluations: readonly Evaluation[], patience: number | undefined): boolean {
  const best = lowest(evaluations);
  return patience !== undefined && best !== undefined && evaluations.length - 1 - evaluations.indexOf(best) >= patience;
}

/** Measures the mean loss of a data set. Dispose of it. */
export class HeldOutLoss {
  readonly #options: TrainingProgramOptions;
  readonly #dataset: RowDataset;
  readonly #program: Program;

  private constructor(options: TrainingProgramOptions, dataset: RowDataset, program: Program) {
    this.#options = options;
    this.#dataset = dataset;
    this.#program = program;
  }

  /** @throws LinnetError `INPUT` for a data set without rows */
  static async create(
    options: TrainingProgramOptions,
    blocks: readonly ParameterBlock[],
    dataset: RowDataset,
  ): Promise<HeldOutLoss> {
    if (dataset.rows === 0) throw new LinnetError('INPUT', 'the held-out data has no rows to measure on');
    return new HeldOutLoss(options, dataset, await options.compile(lossGraph(options, blocks)));
  }

  /** @param parameters by block name */
  async measure(parameters: Blocks, signal?: AbortSignal): Promise<number> {
    const { rows } = this.#options;
    let loss = 0;
    let weight = 0;
    for (let start = 0; start < this.#dataset.rows; start += rows) {
      requireRunning(signal, 'while the held-out loss was measured');
      const filled = Math.min(rows, this.#dataset.rows - start);
      // The graph has a fixed number of rows: the last batch is filled up with rows of no weight.
      const visits: RowVisit[] = Array.from({ length: rows }, (_, i) => ({
        row: i < filled ? start + i : 0,
        epoch: 0,
      }));
      const batch = withoutWeight(this.#dataset.batch(visits), filled, rows);
      const feeds = {
        ...onlyInputs(this.#program, Object.fromEntries(this.#options.frozen ?? [])),
        ...Object.fromEntries(parameters),
      };
      feeds.total_weight = float32([], [1]);
      for (const name of Object.keys(this.#options.objective.inputs)) feeds[name] = batch[name];
      for (const value of dataOf(batch[weightsInput], 'float32')) weight += value;
      const result = await this.#program.run(feeds, ['loss']);
      loss += Number(result.loss.data[0]);
    }
    if (weight === 0) throw new LinnetError('INPUT', 'the held-out data has nothing to predict: all weights are 0');
    return loss / weight;
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

function withoutWeight(batch: BatchTensors, filled: number, rows: number): BatchTensors {
  if (filled === rows) return batch;
  const given = batch[weightsInput];
  const data = dataOf(given, 'float32').slice();
  data.fill(0, (data.length / rows) * filled);
  return { ...batch, [weightsInput]: tensor('float32', given.shape, data) };
}
