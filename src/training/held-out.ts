/**
 * Loss on held-out text, measured during training, and the parameters of the lowest one: in memory and, for a resume, in
 * files next to the snapshots.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BatchTensors, RowDataset } from '../data/rows/row-dataset.ts';
import { LinnetError } from '../errors.ts';
import { dataOf, type Tensor, tensor, type WeightMap, type Weights } from '../graph/tensor.ts';
import type { GraphCompiler } from '../runtime/program.ts';
import { SegmentedProgram } from '../runtime/segmented-program.ts';
import { runWeighted, type WeightedRun } from '../runtime/weighted-program.ts';
import { type Objective, weightsInput } from './objectives/next-token.ts';
import type { ParameterBlock } from './parameter-blocks.ts';
import { microBatchRows } from './settings.ts';
import { batchInputs, lossGraph, type ProgramJob } from './step-program.ts';
import { float32Entries } from '../checkpoint/safetensors/encoding.ts';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { remove } from '../files/remove.ts';

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
  /** The run's final parameters: at the lowest loss, or the last. */
  readonly keep: 'best' | 'last';
  readonly onEvaluation?: (evaluation: Evaluation & { readonly isBest: boolean }) => void;
}

/** Parameters by block name; training steps replace them without writing to them. */
type Blocks = Weights;

/** The lowest of some measurements, the first of equal ones. */
function lowest(evaluations: readonly Evaluation[]): Evaluation | undefined {
  return evaluations.toSorted((a, b) => a.loss - b.loss)[0];
}

/** Whether the last `patience` measurements brought no new lowest loss. */
export function isExhausted(evaluations: readonly Evaluation[], patience: number | undefined): boolean {
  const best = lowest(evaluations);
  return patience !== undefined && best !== undefined && evaluations.length - 1 - evaluations.indexOf(best) >= patience;
}

/** Measures the mean loss of a data set. Dispose of it. */
export interface HeldOutLoss extends AsyncDisposable {
  /** @param parameters by block name */
  measure(parameters: Blocks): Promise<number>;
}

/** @throws LinnetError `INPUT` for a data set without rows */
export async function heldOutLoss(
  job: ProgramJob,
  { dataset, objective }: Pick<EvaluationPlan, 'dataset' | 'objective'>,
  blocks: readonly ParameterBlock[],
  compile: GraphCompiler,
): Promise<HeldOutLoss> {
  if (dataset.rows === 0) throw new LinnetError('INPUT', 'the held-out data has no rows to measure; hold out more');
  const { settings, parameters: start, weights } = job;
  const rows = microBatchRows(settings);
  const graph = lossGraph({ ...job, objective }, blocks);
  const program = weights === undefined ? await compile(graph) : await SegmentedProgram.create(graph, weights, compile);
  return {
    async measure(parameters) {
      let weight = 0;
      const runs: WeightedRun[] = [];
      for (let start = 0; start < dataset.rows; start += rows) {
        const filled = Math.min(rows, dataset.rows - start);
        // The graph has a fixed number of rows: rows without weight fill the last batch.
        const visits = Array.from({ length: rows }, (_, i) => ({ row: i < filled ? start + i : 0, epoch: 0 }));
        const feeds = (): Record<string, Tensor> => {
          const batch = withoutWeight(dataset.batch(visits), filled, rows);
          for (const value of dataOf(batch[weightsInput], 'float32')) weight += value;
          return { ...Object.fromEntries(parameters), ...batchInputs(objective, batch, 1) };
        };
        runs.push({ program, feeds });
      }
      let loss = 0;
      for await (const result of runWeighted(runs, weights ?? start)) loss += Number(result.loss.data[0]);
      if (weight === 0) throw new LinnetError('INPUT', 'the held-out data has nothing to predict: all weights are 0');
      return loss / weight;
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

function withoutWeight(batch: BatchTensors, filled: number, rows: number): BatchTensors {
  if (filled === rows) return batch;
  const given = batch[weightsInput];
  const data = dataOf(given, 'float32').slice();
  data.fill(0, (data.length / rows) * filled);
  return { ...batch, [weightsInput]: tensor('float32', given.shape, data) };
}

const bestFile = /^best-(\d{9})\.safetensors$/;
const nameOf = (update: number): string => `best-${String(update).padStart(9, '0')}.safetensors`;

interface MeasuredParameters {
  readonly measured: Evaluation;
  readonly parameters: Blocks;
}

/** Keeps the best parameters if the plan asks for them. @param folder the snapshot folder, if any */
export function bestParameters(
  plan: EvaluationPlan | undefined,
  folder: string | undefined,
  blocks: readonly ParameterBlock[],
) {
  const keepsBest = plan?.keep === 'best';
  let best: MeasuredParameters | undefined;
  /** The best one at the previous snapshot, the fallback for a damaged newest one. */
  let before: number | undefined;
  return {
    /** The run's final parameters, instead of its last ones. */
    get kept(): MeasuredParameters | undefined {
      return best;
    },
    /** Restores the best of a resumed run. If its file is gone, the next measurement becomes the best. */
    async restore(evaluations: readonly Evaluation[]): Promise<void> {
      const measured = lowest(evaluations);
      if (!keepsBest || folder === undefined || measured === undefined) return;
      const parameters = await readBest(folder, measured.update, blocks);
      if (parameters !== undefined) best = { measured, parameters };
      before = measured.update;
    },
    /** Records the latest measurement. */
    async take(measured: Evaluation, parameters: Blocks, evaluations: readonly Evaluation[]): Promise<void> {
      const isBest = lowest(evaluations) === measured;
      if (keepsBest && (isBest || best === undefined)) {
        best = { measured, parameters };
        if (folder !== undefined) await writeBest(folder, measured.update, parameters);
      }
      plan?.onEvaluation?.({ ...measured, isBest });
    },
    /** Writes a snapshot, then removes files that neither it nor the previous one references. */
    async snapshot(write: () => Promise<void>): Promise<void> {
      await write();
      const now = best?.measured.update;
      if (folder === undefined || now === undefined) return;
      const kept = new Set([now, before ?? now].map(nameOf));
      for (const name of await readdir(folder)) {
        if (bestFile.test(name) && !kept.has(name)) await remove(join(folder, name));
      }
      before = now;
    },
  };
}

async function writeBest(folder: string, update: number, parameters: Blocks): Promise<void> {
  await writeSafetensors(join(folder, nameOf(update)), float32Entries(parameters), { update: String(update) });
}

async function readBest(
  folder: string,
  update: number,
  blocks: readonly ParameterBlock[],
): Promise<Blocks | undefined> {
  if (!(await readdir(folder)).includes(nameOf(update))) return undefined;
  await using file = await openSafetensors(join(folder, nameOf(update)));
  const parameters: WeightMap = new Map();
  for (const { name, shape } of blocks) {
    const found = await file.readFloat32(name);
    if (String(found.shape) !== String(shape)) {
      throw new LinnetError(
        'FORMAT',
        `${file.source}: "${name}" is [${found.shape.join(',')}], expected [${shape.join(',')}]`,
      );
    }
    parameters.set(name, found);
  }
  return parameters;
}
