/**
 * One conversion, from a softmax model to a linearized one: choose the mixer and the layers that keep softmax, start in
 * closed form, then stages of training, each of which is kept only if the judging text is predicted better after it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MixerConfig } from '../attention/mixer.ts';
import { loadCausalModel, type LoadedModel, saveModel } from '../checkpoint/load-model.ts';
import type { Document } from '../data/documents.ts';
import { LinnetError } from '../errors.ts';
import { recallProbes } from '../evaluation/recall/copy-recall.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import { freshMixerParameters, linearize } from '../models/linearize.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { parseTrainingSettings, type TrainingSettings } from '../training/settings.ts';
import { train } from '../training/trainer.ts';
import { calibrate } from './calibrate.ts';
import { chooseMixer } from './plan.ts';
import {
  type ConversionProgress,
  newProgress,
  readProgress,
  type StageResult,
  writeProgress,
} from './progress-file.ts';
import { layersToKeep, layerSensitivity } from './sensitivity.ts';
import { type TrainingStage, trainingStages, type Weighted } from './stages.ts';
import { calibrationTexts, type ConversionTexts, trainingRows } from './texts.ts';

/** Which layers keep softmax: none, given ones, or so many that are chosen by measuring. */
export type KeptLayers = { readonly layers: readonly number[] } | { readonly auto: number };

/** What a conversion is asked for. */
export interface ConversionOptions {
  /** Seconds for all training together. */
  readonly budget: number;
  /** Bytes of float32 state of the converted layers; default: G = 64. */
  readonly stateBytes?: number;
  readonly keep: KeptLayers;
  /** Instead of a window that is chosen by `stateBytes`. */
  readonly mixer?: MixerConfig;
  /** Sequences per optimizer step. Default 8. */
  readonly batch?: number;
  readonly seed?: number;
  /** Progress, snapshots and weights go here. */
  readonly folder: string;
  /** Goes on with the conversion in the folder. */
  readonly resume?: boolean;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: ConversionEvent) => void;
}

/** What happens in a conversion. */
export type ConversionEvent =
  | { readonly kind: 'sensitivity'; readonly done: number; readonly total: number }
  | { readonly kind: 'started'; readonly stage: string; readonly steps: number; readonly description: string }
  | {
      readonly kind: 'step';
      readonly stage: string;
      readonly done: number;
      readonly total: number;
      readonly loss: number;
    }
  | { readonly kind: 'finished'; readonly result: StageResult; readonly resumed: boolean };

/** A finished conversion. */
export interface Conversion extends Weighted {
  readonly mixer: MixerConfig;
  readonly progress: ConversionProgress;
}

const sequences = 8;
/** Optimizer steps that tell how long one takes. */
const timedSteps = 2;
const fewestSteps = 4;
const snapshotEvery = 50;
const bestFolder = 'best';

/**
 * Converts a model.
 * @throws LinnetError `PATH` for a folder that holds a conversion without `resume`, `MISMATCH` for one of something else,
 *   `ABORTED` by the signal; the folder then has what a resumed conversion needs
 * @example
 * const { model, parameters, progress } = await convert(original, tokenizer, texts, {
 *   budget: 600, keep: { auto: 1 }, folder: 'runs/converted.run',
 * });
 * console.log(model.mixers, parameters.size, progress.stages);
 */
export async function convert(
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
): Promise<Conversion> {
  const { folder, resume = false, compile, signal } = options;
  const measured = { ...compile, signal };
  const isThere = existsSync(join(folder, 'conversion.json'));
  if (isThere && !resume) {
    throw new LinnetError('PATH', `${folder} holds a conversion; continue it with --resume, or name another --run`);
  }
  await mkdir(folder, { recursive: true });
  const identity = identityOf(original, texts.training, options);
  const progress = isThere ? await readProgress(folder) : await begin(original, tokenizer, texts, options, identity);
  if (progress.identity !== identity) {
    throw new LinnetError(
      'MISMATCH',
      `${folder} holds a conversion of another model, data or options; name another --run`,
    );
  }
  if (!isThere) await writeProgress(folder, progress);
  const mixer = options.mixer ?? mixerFor(original, options, progress.keptLayers.length);
  const converted = original.model.mixers.flatMap((_, layer) => (progress.keptLayers.includes(layer) ? [] : [layer]));
  const start = linearize(original.model, original.parameters, mixer, converted);
  let best: Weighted = start;
  if (progress.stages.some(({ kept }) => kept)) {
    const { parameters } = await loadCausalModel(join(folder, bestFolder));
    best = { model: start.model, parameters };
  }
  for (const { name } of progress.stages) announce(options, progress, name);

  const finish = async (name: string, trial: Weighted, steps: number, started: number): Promise<void> => {
    const { perplexity: value } = await perplexity(trial.model, trial.parameters, texts.judging, measured);
    const before = bestOf(progress)?.perplexity ?? Number.POSITIVE_INFINITY;
    const kept = value < before || progress.stages.length === 0;
    if (kept) {
      best = trial;
      await saveModel(join(folder, bestFolder), trial, { tokenizerFiles: { from: original.path }, replace: true });
    }
    const seconds = (performance.now() - started) / 1000;
    progress.stages.push({ name, perplexity: value, seconds, steps, kept });
    await writeProgress(folder, progress);
    options.onEvent?.({ kind: 'finished', result: progress.stages[progress.stages.length - 1], resumed: false });
  };
  const isDone = (name: string): boolean => progress.stages.some((stage) => stage.name === name);

  if (!isDone('linearize')) await finish('linearize', start, 0, performance.now());
  if (!isDone('calibrate')) {
    const started = performance.now();
    options.onEvent?.({
      kind: 'started',
      stage: 'calibrate',
      steps: 0,
      description: 'mixers are fitted in closed form',
    });
    const sample = await calibrationTexts(texts.training, tokenizer);
    const { parameters } = await calibrate(original, start, sample, measured);
    await finish('calibrate', { model: start.model, parameters }, 0, started);
  }
  for (const stage of trainingStages) {
    if (isDone(stage.name)) continue;
    const started = performance.now();
    const trained = await trainStage(stage, original, best, tokenizer, texts, options, progress);
    if (trained === undefined) continue;
    await finish(stage.name, { model: start.model, parameters: trained.parameters }, trained.steps, started);
    await rm(join(folder, stage.name), { recursive: true, force: true });
  }
  return { ...best, mixer, progress };
}

/** The stage whose weights are the best so far. */
function bestOf({ stages }: ConversionProgress): StageResult | undefined {
  return stages.filter(({ kept }) => kept).at(-1);
}

function announce({ onEvent }: ConversionOptions, { stages }: ConversionProgress, name: string): void {
  const result = stages.find((stage) => stage.name === name);
  if (result !== undefined) onEvent?.({ kind: 'finished', result, resumed: true });
}

function mixerFor({ model }: LoadedModel, { mixer, stateBytes }: ConversionOptions, kept: number): MixerConfig {
  return mixer ?? chooseMixer(model, { bytes: stateBytes, converted: model.mixers.length - kept });
}

/** Measures the original, and which layers to keep. */
async function begin(
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
  identity: string,
): Promise<ConversionProgress> {
  const { keep, compile, signal, onEvent } = options;
  const measured = { ...compile, signal };
  const { perplexity: value } = await perplexity(original.model, original.parameters, texts.judging, measured);
  const start = { identity, original: value };
  if ('layers' in keep) return newProgress({ ...start, keptLayers: [...keep.layers], sensitivity: [] });
  if (keep.auto === 0) return newProgress({ ...start, keptLayers: [], sensitivity: [] });
  const { model } = original;
  const distances = [model.sizes.trainedLength / 4, model.sizes.trainedLength / 2].map(Math.floor);
  const fitting = distances.filter((distance) => texts.reportedTokens.length > distance + 64);
  const sensitivity = await layerSensitivity(
    original,
    mixerFor(original, options, keep.auto),
    {
      texts: await calibrationTexts(texts.training, tokenizer),
      data: texts.judging,
      probes: recallProbes(
        texts.reportedTokens,
        { distances: fitting },
        model.bosId === undefined ? [] : [model.bosId],
      ),
    },
    { ...measured, onLayer: (done, total) => onEvent?.({ kind: 'sensitivity', done, total }) },
  );
  return newProgress({ ...start, keptLayers: layersToKeep(sensitivity, keep.auto), sensitivity });
}

async function trainStage(
  stage: TrainingStage,
  teacher: LoadedModel,
  student: Weighted,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
  progress: ConversionProgress,
): Promise<{ parameters: Weighted['parameters']; steps: number } | undefined> {
  const length = stage.length(student.model.sizes.trainedLength);
  const prepared = stage.prepare(teacher, student, length);
  if (prepared === undefined) return undefined;
  const dataset = await trainingRows(texts.training, tokenizer, length);
  const settings = (steps: number): TrainingSettings =>
    parseTrainingSettings({
      ...{ steps, length, batch: options.batch ?? sequences, seed: options.seed ?? 0 },
      ...{ learningRate: Math.max(stage.mixerRate, stage.sharedRate), schedule: 'cosine' },
      warmup: Math.min(10, Math.floor(steps / 4)),
    });
  const job = {
    model: student.model,
    ...{ parameters: prepared.parameters, objective: prepared.objective, dataset, compile: options.compile },
    trainable: (name: string) => prepared.trained.has(name),
    rateFactor: rateFactors(stage, student),
    origin: progress.identity,
    variant: { stage: stage.name },
  };
  const steps =
    progress.planned[stage.name] ?? (await plannedSteps(job, settings(timedSteps), stage.share * options.budget));
  progress.planned[stage.name] = steps;
  await writeProgress(options.folder, progress);
  if (steps === 0) return undefined;
  options.onEvent?.({ kind: 'started', stage: stage.name, steps, description: stage.description });
  const outcome = await train({
    ...job,
    settings: settings(steps),
    snapshots: { folder: join(options.folder, stage.name), every: snapshotEvery },
    signal: options.signal,
    onUpdate: ({ update, total, loss }) =>
      options.onEvent?.({ kind: 'step', stage: stage.name, done: update, total, loss }),
  });
  if (!outcome.finished) {
    throw new LinnetError(
      'ABORTED',
      `stopped in stage ${stage.name} after ${outcome.updates} of ${steps} steps; ${options.folder} has a snapshot`,
    );
  }
  return { parameters: outcome.parameters, steps };
}

/** Optimizer steps that fit into so many seconds, by timing two; 0 where they are too few to learn anything. */
async function plannedSteps(
  job: Omit<Parameters<typeof train>[0], 'settings'>,
  settings: TrainingSettings,
  seconds: number,
): Promise<number> {
  const { tokensPerSecond = 0 } = await train({ ...job, settings });
  const steps = Math.floor((seconds * tokensPerSecond) / (settings.batch * settings.length));
  return steps < fewestSteps ? 0 : steps;
}

/** The share of the peak rate of each parameter. */
function rateFactors({ mixerRate, sharedRate }: TrainingStage, { model }: Weighted): (name: string) => number {
  const own = new Set(freshMixerParameters(model).keys());
  const peak = Math.max(mixerRate, sharedRate);
  return (name) => (own.has(name) ? mixerRate : sharedRate) / peak;
}

/** What tells one conversion from another. */
function identityOf({ fingerprint }: LoadedModel, training: readonly Document[], options: ConversionOptions): string {
  const { budget, stateBytes, keep, mixer, batch = sequences, seed = 0 } = options;
  const hash = createHash('sha256');
  hash.update(JSON.stringify({ fingerprint, budget, stateBytes, keep, mixer, batch, seed }));
  for (const { text } of training) hash.update(text);
  return hash.digest('hex');
}
