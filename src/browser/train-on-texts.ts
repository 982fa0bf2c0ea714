/** Fine-tuning in a page: Node's `train` without files. */
import { PackedRows, packRows } from '../data/datasets/packed-rows.ts';
import { eventLoopTurn } from '../runtime/program.ts';
import type { Weights } from '../graph/tensor.ts';
import { compileForWeb } from '../runtime/web-compile.ts';
import type { WebEngineSettings } from '../runtime/web-engine.ts';
import { causalObjective } from '../training/objectives/next-token.ts';
import { type TrainingInput, parseTrainingSettings } from '../training/settings.ts';
import { compileTraining } from '../training/step-program.ts';
import {
  allParameters,
  type LoopJob,
  startingState,
  totalUpdates,
  type UpdateEvent,
  updatesOf,
} from '../training/updates.ts';
import type { TrainableModel } from './trainable-model.ts';

/** A training run's plan. */
export interface PlannedTraining {
  /** Tokens that one pass over the texts predicts. */
  readonly tokens: number;
  readonly rows: number;
  /** Total number of updates. */
  readonly updates: number;
}

export interface TextTrainingOptions {
  /** `linnet finetune`'s settings: learning rate, batch, length, steps, seed … Defaults are also the same. */
  readonly settings: TrainingInput;
  /** Where it runs; default: WebAssembly. */
  readonly engine?: Partial<WebEngineSettings>;
  /** Ends training after the current update, keeping its parameters. */
  readonly signal?: AbortSignal;
  /** Called once the texts are packed, before the graph is compiled. */
  readonly onPlan?: (plan: PlannedTraining) => void;
  /** Called after every optimizer step. */
  readonly onUpdate?: (event: UpdateEvent) => void;
}

/** A training run's result. */
export interface TrainedParameters {
  /** All of the model's parameters. */
  readonly parameters: Weights;
  /** Updates done. */
  readonly updates: number;
  readonly total: number;
  /** False if the signal ended it. */
  readonly finished: boolean;
}

/**
 * Trains all of a model's parameters further on texts, by next-token prediction. Equals `linnet finetune` on the same
 * documents: the same rows in the same order, the same updates.
 *
 * @param texts documents; line ends are read as in files
 * @returns parameters as new tensors; `trainable`'s stay unchanged
 * @throws LinnetError `CONFIG` for wrong settings, `INPUT` for too little text, `RUNTIME` if the engine fails or the loss is
 *   not finite
 * @example
 * ```ts
 * const settings = { learningRate: 3e-4, batch: 4, length: 64, steps: 40 };
 * const { parameters } = await trainOnTexts(trainable, texts, { settings });
 * ```
 */
export async function trainOnTexts(
  trainable: TrainableModel,
  texts: readonly string[],
  { settings: input, engine, signal, onPlan, onUpdate }: TextTrainingOptions,
): Promise<TrainedParameters> {
  const { model, parameters, tokenizer } = trainable;
  const settings = parseTrainingSettings(input);
  const { length, labelSmoothing } = settings;
  const documents = texts.map((text) => ({ text: text.replaceAll(/\r\n?/g, '\n') }));
  const dataset = new PackedRows(await packRows(documents, tokenizer, { length }));
  const objective = causalObjective(model, length, { labelSmoothing });
  const job: LoopJob = { model, objective, parameters, dataset, settings };
  onPlan?.({ tokens: dataset.predictedTokens, rows: dataset.rows, updates: totalUpdates(dataset, settings) });
  const compile = (graph: Parameters<typeof compileForWeb>[0]) => compileForWeb(graph, { device: 'wasm', ...engine });
  await using program = await compileTraining(job, compile);
  const updates = updatesOf(job, program, { state: startingState(job, program), update: 0 });
  while (updates.done < updates.total && signal?.aborted !== true) {
    onUpdate?.(await updates.next());
    await eventLoopTurn();
  }
  const { done, total } = updates;
  return { parameters: allParameters(job, program, updates.state), updates: done, total, finished: done === total };
}
