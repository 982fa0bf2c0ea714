/** What `pretrain` and `finetune` share: their options, and a recorded, resumable run. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { type LoadedModel, saveModel } from '../checkpoint/load-model.ts';
import type { SaveOptions } from '../checkpoint/save-checkpoint.ts';
import { type Document, loadDocuments } from '../data/documents.ts';
import { packDocuments, type PackedDataset } from '../data/packing.ts';
import { LinnetError } from '../errors.ts';
import { formatCount, formatFixed, formatShortCount } from '../report/quantities.ts';
import { openRun, type Run } from '../report/record.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { scheduleNames } from '../training/schedule.ts';
import {
  microBatchRows,
  parseTrainingSettings,
  type TrainingInput,
  type TrainingSettings,
} from '../training/settings.ts';
import { train, type TrainingJob, type TrainingOutcome, totalUpdates, type UpdateEvent } from '../training/trainer.ts';
import { type CommandResult, engineOptions, flag, optional, required, requiredList, withDefault } from './command.ts';
import type { CommandContext } from './context.ts';
import { UsageError } from './exit-codes.ts';
import { choice, decimal, integer, path, text } from './option-values.ts';

const share = decimal({ min: 0, max: 0.999999 });

/** Options of every training command. Those with a default in `trainingSchema` are left to it. */
export const trainingOptions = {
  data: requiredList(text, { placeholder: 'sources', description: '.txt and .jsonl files, or npm:PACKAGE' }),
  field: withDefault(text, 'text', { placeholder: 'name', description: 'field of a .jsonl line that holds the text' }),
  heldOut: withDefault(integer({ min: 0 }), 0, {
    placeholder: 'count',
    description: 'leave out the last documents, to evaluate on',
  }),
  out: required(path, { placeholder: 'folder', description: 'where the trained model goes' }),
  replace: flag('replace the folder if it exists'),
  dtype: withDefault(choice(['F32', 'F16', 'BF16']), 'F32', {
    placeholder: 'type',
    description: 'element type of the saved weights: F32, F16 or BF16',
  }),
  steps: optional(integer({ min: 1 }), {
    placeholder: 'count',
    description: 'updates in all (default: from --epochs)',
  }),
  epochs: optional(integer({ min: 1 }), { placeholder: 'count', description: 'passes over the data (default: 3)' }),
  lr: optional(decimal({ min: 1e-12, max: 10 }), {
    placeholder: 'rate',
    description: 'peak learning rate (default: 2e-5)',
  }),
  schedule: optional(choice(scheduleNames), {
    placeholder: 'name',
    description: `after the warm-up: ${scheduleNames.join(', ')} (default: linear)`,
  }),
  warmup: optional(integer({ min: 0 }), {
    placeholder: 'updates',
    description: 'updates of linear warm-up (default: 0)',
  }),
  batch: optional(integer({ min: 1, max: 65536 }), {
    placeholder: 'rows',
    description: 'sequences per update (default: 32)',
  }),
  microBatch: optional(integer({ min: 1, max: 65536 }), {
    placeholder: 'rows',
    description: 'sequences per run of the engine, a divisor of --batch (default: about 4096 tokens)',
  }),
  length: optional(integer({ min: 1, max: 1 << 20 }), {
    placeholder: 'tokens',
    description: 'tokens per sequence (default: 512)',
  }),
  packing: withDefault(choice(['stream', 'document']), 'stream', {
    placeholder: 'name',
    description: 'stream: documents one after the other; document: one per sequence, cut or padded',
  }),
  weightDecay: optional(decimal({ min: 0, max: 1 }), {
    placeholder: 'rate',
    description: 'decoupled weight decay of matrices (default: 0)',
  }),
  beta1: optional(share, { placeholder: 'share', description: 'decay of the first moment (default: 0.9)' }),
  beta2: optional(share, { placeholder: 'share', description: 'decay of the second moment (default: 0.95)' }),
  clip: optional(decimal({ min: 0 }), {
    placeholder: 'norm',
    description: 'largest gradient norm, 0 for none (default: 1)',
  }),
  seed: withDefault(integer(), 0, { placeholder: 'number', description: 'of the shuffle, and of fresh weights' }),
  run: optional(path, {
    placeholder: 'folder',
    description: 'run folder: record, metrics, snapshots (default: OUT.run)',
  }),
  snapshotEvery: withDefault(integer({ min: 1 }), 100, {
    placeholder: 'updates',
    description: 'how often to save a snapshot',
  }),
  resume: flag('continue the run in the run folder from its newest snapshot; give the same options as before'),
  ...engineOptions,
};

/** The values of `trainingOptions`. */
export interface TrainingValues {
  readonly data: readonly string[];
  readonly field: string;
  readonly heldOut: number;
  readonly out: string;
  readonly replace: boolean;
  readonly dtype: 'F32' | 'F16' | 'BF16';
  readonly steps?: number;
  readonly epochs?: number;
  readonly lr?: number;
  readonly schedule?: TrainingInput['schedule'];
  readonly warmup?: number;
  readonly batch?: number;
  readonly microBatch?: number;
  readonly length?: number;
  readonly packing: 'stream' | 'document';
  readonly weightDecay?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly clip?: number;
  readonly seed: number;
  readonly run?: string;
  readonly snapshotEvery: number;
  readonly resume: boolean;
  readonly device: 'cpu' | 'webgpu';
  readonly threads?: number;
}

type ParameterMap = LoadedModel['parameters'];
type Json = Record<string, z.core.util.JSONType>;

/** Training of something else than the whole model. */
export interface TrainingMethod {
  /** What the record of the run says of it. */
  readonly configuration: Json;
  /**
   * Sets rows aside.
   * @param heldOut documents that --held-out leaves out
   */
  readonly select: (dataset: PackedDataset, heldOut: readonly Document[]) => PackedDataset;
  /** Trains as `train` does; `folder` is that of the run. */
  readonly train: (job: TrainingJob, folder: string) => Promise<TrainingOutcome>;
  /** Saves what was trained, and returns what machines are told about it. */
  readonly save: (
    out: string,
    trained: ParameterMap,
    options: Pick<SaveOptions, 'tokenizerFiles' | 'dtype' | 'replace'>,
  ) => Promise<Json>;
}

/** What is trained. */
export interface TrainingSubject extends Pick<LoadedModel, 'model' | 'parameters'> {
  /** Of the weights that training starts from; undefined where they follow from the seed. */
  readonly fingerprint?: string;
  readonly tokenizer: Tokenizer;
  readonly tokenizerFiles: SaveOptions['tokenizerFiles'];
  /** Default: all parameters learn the next token. */
  readonly method?: TrainingMethod;
}

function settingsOf(values: TrainingValues): TrainingSettings {
  const { lr, clip, steps, epochs } = values;
  if (steps !== undefined && epochs !== undefined)
    throw new UsageError('--steps and --epochs exclude each other; give one of them');
  const { schedule, warmup, batch, microBatch, length, weightDecay, beta1, beta2, seed } = values;
  if (batch !== undefined && microBatch !== undefined && batch % microBatch !== 0) {
    throw new UsageError(`--micro-batch is ${microBatch}; expected a divisor of --batch, ${batch}`);
  }
  return parseTrainingSettings({
    ...{
      learningRate: lr,
      steps,
      epochs,
      schedule,
      warmup,
      batch,
      microBatch,
      length,
      weightDecay,
      beta1,
      beta2,
      seed,
    },
    clip: clip === undefined ? undefined : clip === 0 ? null : clip,
  });
}

/** Trains `subject` as the options say, records the run and saves the model. */
export async function runTraining(
  context: CommandContext,
  values: TrainingValues,
  prepare: (settings: TrainingSettings) => Promise<TrainingSubject>,
): Promise<CommandResult> {
  const settings = settingsOf(values);
  if (existsSync(values.out) && !values.replace) {
    throw new LinnetError('PATH', `${values.out} exists; name another --out, or give --replace`);
  }
  const { model, parameters, fingerprint, tokenizer, tokenizerFiles, method } = await prepare(settings);
  const all = await loadDocuments(values.data, { field: values.field });
  const documents = all.slice(0, Math.max(0, all.length - values.heldOut));
  if (documents.length === 0)
    throw new LinnetError('INPUT', `there are ${all.length} documents, and --held-out leaves none to train on`);
  const packed = await packDocuments(documents, tokenizer, { length: settings.length, mode: values.packing });
  const dataset = method === undefined ? packed : method.select(packed, all.slice(documents.length));
  const total = totalUpdates(dataset, settings);
  context.note(
    `${formatCount(documents.length)} documents, ${formatCount(dataset.predictedTokens)} tokens in ${formatCount(dataset.rows)} rows; ` +
      `${formatCount(total)} updates of ${formatCount(settings.batch * settings.length)} tokens (micro-batches of ${microBatchRows(settings)} rows)`,
  );
  const folder = values.run ?? `${values.out.replace(/\/+$/, '')}.run`;
  const snapshots = { folder: join(folder, 'snapshots'), every: values.snapshotEvery };
  const { data, field, heldOut, packing } = values;
  const isRecorded = existsSync(join(folder, 'run.json'));
  if (isRecorded && !values.resume) {
    throw new LinnetError(
      'PATH',
      `${folder} holds a run; continue it with --resume, or name another folder with --run`,
    );
  }
  const configuration: unknown = JSON.parse(
    JSON.stringify({ model: model.toJson(), settings, data, field, heldOut, packing, ...method?.configuration }),
  );
  const description = {
    command: ['linnet', ...process.argv.slice(2)],
    configuration: z.record(z.string(), z.json()).parse(configuration),
    seed: values.seed,
  };
  // A run that falls back to a snapshot measures what came after it again.
  const open = (done: number): Promise<Run> =>
    openRun(folder, description, { resume: isRecorded, keep: ({ update }) => Number(update) <= done });
  const job = {
    model,
    parameters,
    origin: fingerprint,
    dataset,
    settings,
    snapshots,
    compile: { device: values.device, threads: values.threads },
  };
  const run = (started: TrainingJob): Promise<TrainingOutcome> => method?.train(started, folder) ?? train(started);
  return recordedTraining(context, { label: basename(folder), folder, open, run }, job, async (trained) => {
    const options = { tokenizerFiles, dtype: values.dtype, replace: values.replace };
    const told = (await method?.save(values.out, trained, options)) ?? {};
    if (method === undefined) await saveModel(values.out, { model, parameters: trained }, options);
    context.print(`saved ${values.out}`);
    return { out: values.out, run: folder, ...told };
  });
}

interface Recording {
  readonly label: string;
  readonly folder: string;
  /** Opens the record, keeping the metrics of updates that are done. */
  readonly open: (done: number) => Promise<Run>;
  readonly run: (job: TrainingJob) => Promise<TrainingOutcome>;
}

async function recordedTraining(
  context: CommandContext,
  { label, folder, open, run: runJob }: Recording,
  job: TrainingJob,
  save: (trained: ParameterMap) => Promise<Json>,
): Promise<CommandResult> {
  const progress = context.progress(label, 'tokens');
  const started = performance.now();
  const tokensPerUpdate = job.settings.batch * job.settings.length;
  let run: Run | undefined;
  const onStart = async (done: number): Promise<void> => {
    run = await open(done);
    if (done > 0) context.note(`continuing after update ${done}`);
    progress.update(done * tokensPerUpdate, totalUpdates(job.dataset, job.settings) * tokensPerUpdate);
  };
  const onUpdate = ({ update, total, loss, gradientNorm, learningRate, seconds }: UpdateEvent): void => {
    run?.log({ update, loss, gradientNorm, learningRate, tokens: tokensPerUpdate * update, seconds });
    const info = `update ${update}/${total}, loss ${formatFixed(loss, 4)}`;
    progress.update(update * tokensPerUpdate, total * tokensPerUpdate, info);
  };
  try {
    const outcome = await runJob({ ...job, signal: context.signal, onStart, onUpdate });
    progress.finish();
    if (!outcome.finished) {
      const state =
        outcome.updates > 0 ? `a snapshot of update ${outcome.updates} is in ${folder}` : 'nothing was trained yet';
      throw new LinnetError('ABORTED', `stopped; ${state}. To continue, give the same command again with --resume`);
    }
    const saved = await save(outcome.parameters);
    await run?.finish('finished');
    const seconds = (performance.now() - started) / 1000;
    if (outcome.loss !== undefined && outcome.tokensPerSecond !== undefined) {
      context.print(
        `${formatCount(outcome.updates)} updates, loss ${formatFixed(outcome.loss, 4)} (mean of the last tenth), ` +
          `${formatShortCount(outcome.tokensPerSecond)} tokens/s`,
      );
    }
    return {
      json: {
        ...saved,
        loss: outcome.loss ?? null,
        steps: outcome.updates,
        tokens: outcome.tokens,
        tokensPerSecond: outcome.tokensPerSecond ?? null,
        seconds,
      },
    };
  } catch (error) {
    progress.finish();
    const stopped = error instanceof LinnetError && error.code === 'ABORTED';
    await run?.finish(stopped ? 'interrupted' : 'failed', error);
    throw error;
  }
}
