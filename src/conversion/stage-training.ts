/** Training a stage of a conversion: the whole model, or every layer by itself on hidden states of the teacher. */
import type { MixerConfig } from '../attention/mixer.ts';
import { LinnetError, requireRunning } from '../errors.ts';
import { loadTensors } from '../checkpoint/stored-parameter.ts';
import { exchangeableLayers, parametersOfMixers, withMixer } from '../models/linearization/linearize.ts';
import type { CausalModel } from '../models/model.ts';
import { isLoraParameter } from '../nn/lora.ts';
import { formatDuration } from '../report/quantities.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { transferredLayers } from '../training/objectives/distillation.ts';
import type { MemoryForm } from '../training/memory-form.ts';
import { memoryLimit } from '../training/plans/options.ts';
import { openCachedLogits, usualTop } from '../training/objectives/cached-logits.ts';
import type { Objective } from '../training/objectives/next-token.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { measureOperations, stepCost } from '../training/step-cost.ts';
import { changedIn, type FormedStep, jobInForm, stepForms } from '../training/step-form.ts';
import { train } from '../training/trainer.ts';
import { type ConvertedWeights, withUpdates } from './converted-weights.ts';
import { passCost } from './hidden-states.ts';
import { LayerStates } from './layer-states.ts';
import type { ConversionOptions } from './options.ts';
import { layerStepTimes } from './layer-transfer.ts';
import { type TransferCost, transferCost, transferLayers } from './transfer-layers.ts';
import type { StageResult } from './progress-file.ts';
import { layersInStore, trainLayersInQueue } from './remote-layers.ts';
import { chooseMixer, requireConverted } from './plan.ts';
import { memoryBesides, requireStep, type StepOptions } from './step-form.ts';
import {
  fewestSteps,
  isTrained,
  type Original,
  rowLength,
  sequences,
  stageSettings,
  stepsWithin,
  timedSteps,
  type TrainingStage,
  trainingStages,
  type Weighted,
} from './stages.ts';
import { type ConversionTexts, trainingRows } from './texts.ts';
import { selectParameters } from '../nn/parameters.ts';

const snapshotEvery = 50;
/** Share of a stage's time after which the trial of its steps ends early. */
const trialShare = 0.05;
/** Rows that layers are trained on: enough for the few parameters of a mixer. */
const mostTransferRows = 64;

/** Inputs of a stage's training. */
export interface StageContext {
  readonly teacher: Original;
  readonly student: ConvertedWeights;
  readonly tokenizer: Tokenizer;
  readonly texts: ConversionTexts;
  readonly options: ConversionOptions;
  /** Identity of this conversion. */
  readonly origin: string;
  /** File of the weights of the student. */
  readonly weights: string;
  /** The stage's folder: snapshots and all else that a resumed stage needs. */
  readonly folder: string;
  /** A number that an earlier run planned (optimizer steps), or else the result of `measure`, which is recorded. */
  readonly planned: (name: string, measure: () => Promise<number>) => Promise<number>;
}

/** A trained stage. */
interface TrainedStage extends Pick<StageResult, 'steps' | 'layers'>, Omit<ConvertedWeights, 'model'> {}

/** The optimizer steps of a stage, and their cost, known before they are made. */
interface StageCost extends TransferCost {
  readonly length: number;
  readonly batch: number;
  readonly form: MemoryForm;
}

/** Options that the cost of a stage depends on. */
export interface StageCostOptions extends StepOptions {
  /** Rows of the training text. Default: enough. */
  readonly rows?: number;
}

interface StageWork {
  /** Undefined where there is nothing to train. @throws LinnetError as `requireStep` */
  cost(stage: TrainingStage, teacher: Weighted, student: Weighted, options: StageCostOptions): StageCost | undefined;
  /**
   * Undefined where there is nothing to train, or no time.
   * @throws LinnetError as `train`; `ABORTED` by the signal, when the folder has all that a resumed stage needs
   */
  train(stage: TrainingStage, context: StageContext): Promise<TrainedStage | undefined>;
}

export const stageWork: Readonly<Record<TrainingStage['by'], StageWork>> = {
  model: {
    cost(stage, teacher, student, options) {
      const step = requireStep(stage, teacher, student, options);
      if (step === undefined) return undefined;
      const { form, cost } = step;
      return {
        length: stage.lengths * rowLength(student.model, options.length),
        batch: options.batch ?? sequences,
        microBatch: cost.microBatch,
        form: form === 'whole' ? form : 'layers',
        memoryBytes: cost.bytes,
        diskBytes: 2 * cost.trainingBytes,
        passOperations: 0,
        stepOperations: cost.operations,
      };
    },
    train: trainModel,
  },
  layers: {
    // With all else in memory: the largest micro-batch that fits.
    cost(stage, teacher, student, options) {
      const layers = trainedLayers(teacher.model, student.model);
      const rows = transferRows(options.rows);
      if (layers.length === 0 || rows < 2) return undefined;
      const { memoryBytes: limit = memoryLimit(undefined) } = options;
      const length = stage.lengths * rowLength(student.model, options.length);
      const batch = Math.max(1, Math.min(options.batch ?? sequences, Math.floor(rows / 2)));
      const besides = memoryBesides(teacher, student, options);
      const cost = transferCost(teacher.model, student.model, layers, { rows, length, batch }, limit - besides);
      return { ...cost, memoryBytes: cost.memoryBytes + besides, length, batch, form: 'layers' };
    },
    train: trainLayers,
  },
};

async function trainModel(stage: TrainingStage, context: StageContext): Promise<TrainedStage | undefined> {
  const { teacher, student, tokenizer, texts, options, origin, folder, planned } = context;
  const length = stage.lengths * rowLength(student.model, options.length);
  const prepared = stage.prepare(teacher, student, length);
  if (prepared === undefined) return undefined;
  const dataset = await trainingRows(texts.training, tokenizer, length);
  if (!isTrained(stage, options)) return undefined;
  const given = options.steps?.[stage.name];
  const { batch = sequences, seed = 0 } = options;
  const base = { length, batch, seed };
  let step: FormedStep | undefined;
  const required = () => (step ??= requireStep(stage, teacher, student, options));
  const microBatch = await planned(`${stage.name} micro-batch`, async () => required()?.cost.microBatch ?? batch);
  const form =
    stepForms[await planned(`${stage.name} form`, async () => stepForms.indexOf(required()?.form ?? 'whole'))];
  const { trained } = prepared;
  const changed = changedIn(form, prepared);
  const inMemory = selectParameters(prepared.parameters, (name) => form === 'whole' || changed.has(name));
  const { lora, ...formed } = jobInForm(form, prepared, await loadTensors(inMemory), seed);
  const { compile } = options;
  const job = { ...formed, dataset, compile, rateFactor: rateFactors(stage, student), origin };
  const k = Math.min(usualTop, student.model.sizes.vocabulary);
  const cached = form === 'whole' ? prepared.cached?.(k) : undefined;
  const settings = (steps: number): TrainingSettings => ({ ...stageSettings(stage, { ...base, steps }), microBatch });
  // Steps in which rows are read for the first time.
  const once = Math.floor(dataset.rows / base.batch);
  const steps = await planned(stage.name, async () => {
    if (given !== undefined) return given;
    const started = performance.now();
    const seconds = (): number => (performance.now() - started) / 1000;
    const times: number[] = [];
    const enough = new AbortController();
    const onUpdate = (event: { readonly seconds: number }): void => {
      times.push(event.seconds);
      // Two steps tell the time where four would take much of it.
      if (times.length === 2 && seconds() > trialShare * stage.share * options.budget) enough.abort();
    };
    const stopped = [enough.signal, ...(options.signal === undefined ? [] : [options.signal])];
    await train({ ...job, settings: settings(timedSteps), onUpdate, signal: AbortSignal.any(stopped) });
    requireRunning(options.signal, `while steps of ${stage.name} were timed`);
    const steps = stepsWithin(stage.share * options.budget, seconds(), times);
    const beyond = steps - once;
    if (cached === undefined || beyond <= 0) return steps;
    const costOf = (objective: Objective): number =>
      stepCost({ ...job, objective, settings: settings(timedSteps) }).operations;
    return once + Math.floor((beyond * costOf(job.objective)) / costOf(cached));
  });
  if (steps === 0) {
    sayTooFewSteps(stage, options);
    return undefined;
  }
  options.onEvent?.({ kind: 'started', stage: stage.name, steps, description: stage.description });
  await using feature =
    cached === undefined || steps <= once
      ? undefined
      : await openCachedLogits({
          teacher: teacher.model,
          student: student.model,
          trained,
          parameters: formed.parameters,
          origin: teacher.fingerprint,
          dataset,
          k,
          folder,
          compile: options.compile,
        });
  const outcome = await train({
    ...job,
    ...(feature !== undefined && cached !== undefined && { objective: cached, feature }),
    settings: settings(steps),
    snapshots: { folder, every: snapshotEvery },
    signal: options.signal,
    onUpdate: ({ update, total, loss }) =>
      options.onEvent?.({ kind: 'step', stage: stage.name, done: update, total, loss }),
  });
  if (!outcome.finished) {
    throw new LinnetError(
      'ABORTED',
      `stopped in stage ${stage.name} after ${outcome.updates} of ${steps} steps; ${folder} has a snapshot`,
    );
  }
  const learned = selectParameters(outcome.parameters, (name) => job.trainable?.(name) === true);
  const { model, updates } = student;
  const parameters = new Map([...student.parameters, ...[...learned].filter(([name]) => !isLoraParameter(name))]);
  if (lora === undefined) return { parameters, updates, steps };
  const values = selectParameters(learned, isLoraParameter);
  return { ...withUpdates({ model, parameters }, { lora, values }), steps };
}

function sayTooFewSteps({ name, share }: TrainingStage, { budget, onEvent }: ConversionOptions): void {
  const time = formatDuration(share * budget);
  const reason = `fewer than ${fewestSteps} optimizer steps fit into its ${time}; give more time, or its number of steps`;
  onEvent?.({ kind: 'skipped', stage: name, reason });
}

/** The mixer of the converted layers. @param kept how many layers keep softmax, of those that can have another mixer */
export function mixerFor(model: Weighted['model'], options: MixerOptions, kept: number): MixerConfig {
  const { mixer, group, stateBytes: bytes, memory, sinks } = options;
  return (
    mixer ?? chooseMixer(model, { group, bytes, memory, sinks, converted: exchangeableLayers(model).length - kept })
  );
}

type MixerOptions = Pick<ConversionOptions, 'mixer' | 'group' | 'stateBytes' | 'memory' | 'sinks'>;

/** The converted model before layers are chosen by measurement: the first ones stand for those. @throws LinnetError `INPUT` for keeping all, or layers without attention */
export function plannedStudent(
  { model, parameters }: Weighted,
  options: MixerOptions & Pick<ConversionOptions, 'keep'>,
): Weighted {
  const { keep } = options;
  const layers = exchangeableLayers(model);
  const kept = 'layers' in keep ? keep.layers : layers.slice(0, keep.auto);
  requireKept(kept, layers);
  requireConverted(new Set(kept).size, layers.length);
  const changed = withMixer(model, mixerFor(model, options, kept.length), kept);
  return { model: changed, parameters };
}

/** @param layers of the model that have attention @throws LinnetError `INPUT` for a kept layer that is none of them */
export function requireKept(kept: readonly number[], layers: readonly number[]): void {
  const unknown = kept.find((layer) => !layers.includes(layer));
  if (unknown === undefined) return;
  throw new LinnetError('INPUT', `layer ${unknown} has no attention to keep; layers with one are ${layers.join(', ')}`);
}

/**
 * Checks options and the memory of all stages that train the whole model.
 * @throws LinnetError as `requireStep`, `INPUT` as `chooseMixer`, `CONFIG` for a queue of layers that learn one after the other
 */
export function requireStages(original: Weighted, options: ConversionOptions & StepOptions): void {
  if (options.queue !== undefined && options.inputs === 'converted') {
    throw new LinnetError(
      'CONFIG',
      'layers that learn on hidden states of converted ones are trained one after the other; leave `queue` or `inputs` out',
    );
  }
  const student = plannedStudent(original, options);
  for (const stage of trainingStages) {
    if (stage.by === 'model' && isTrained(stage, options)) requireStep(stage, original, student, options);
  }
}

async function trainLayers(stage: TrainingStage, context: StageContext): Promise<TrainedStage | undefined> {
  const { teacher, student, tokenizer, texts, options, origin, folder, planned, weights } = context;
  if (!isTrained(stage, options)) return undefined;
  const given = options.steps?.[stage.name];
  const layers = trainedLayers(teacher.model, student.model);
  if (layers.length === 0) return undefined;
  const started = performance.now();
  const length = stage.lengths * rowLength(student.model, options.length);
  const dataset = await trainingRows(texts.training, tokenizer, length);
  const rows = transferRows(dataset.rows);
  const { compile, signal, queue, onEvent, seed = 0 } = options;
  const cost = stageWork.layers.cost(stage, teacher, student, { ...options, rows });
  if (cost === undefined) {
    onEvent?.({ kind: 'skipped', stage: stage.name, reason: `${rows} rows of text, and 2 are needed; give more data` });
    return undefined;
  }
  const stored = await layersInStore(student, layers, { ...options, origin, stage: stage.name });
  const states = new LayerStates(folder, {
    teacher,
    student,
    inputs: options.inputs ?? 'original',
    keepAll: queue !== undefined,
    dataset,
    rows,
    origin,
    compile,
    signal,
  });
  const microBatch = await planned(`${stage.name} micro-batch`, async () => cost.microBatch);
  const settings = (steps: number): TrainingSettings => ({
    ...stageSettings(stage, { steps, length, batch: cost.batch, seed }),
    microBatch,
  });
  const steps = await planned(stage.name, async () => {
    if (given !== undefined) return given;
    const inputs = { teacher, student, states: await states.before(layers[0]) };
    const before = (performance.now() - started) / 1000;
    const timed = await layerStepTimes(inputs, layers[0], { settings: settings(timedSteps), compile, signal });
    const { operations, rows: atOnce } = passCost(teacher.model, layers[0], length);
    const passes = (layers.length * operations * (rows / atOnce)) / (await measureOperations(compile));
    const each = (stage.share * options.budget - before - passes - timed.seconds) / layers.length;
    return stepsWithin(each + timed.seconds, timed.seconds, timed.times);
  });
  if (steps === 0) {
    sayTooFewSteps(stage, options);
    return undefined;
  }
  onEvent?.({ kind: 'started', stage: stage.name, steps, description: stage.description });
  const total = stored.open.length * steps;
  if (queue !== undefined) {
    const queued = [];
    for (const layer of layers) queued.push({ layer, states: await states.before(layer) });
    await trainLayersInQueue(student, queued, folder, {
      queue,
      teacher: teacher.path,
      weights,
      settings: settings(steps),
      signal,
      onLayer: (done, _, { after: loss }) =>
        onEvent?.({ kind: 'step', stage: stage.name, done: done * steps, total, loss }),
    });
  }
  const trained = await transferLayers({ teacher, student }, stored.open, states, folder, {
    settings: settings(steps),
    compile,
    signal,
    onResult: stored.keep,
    onUpdate: (done, { loss }) => onEvent?.({ kind: 'step', stage: stage.name, done, total, loss }),
  });
  const results = [...stored.known.values(), ...trained].sort((one, other) => one.layer - other.layer);
  return {
    parameters: new Map([...student.parameters, ...results.flatMap((result) => [...result.parameters])]),
    updates: student.updates,
    steps,
    layers: results.map(({ layer, before, after }) => ({ layer, before, after })),
  };
}

/** Layers whose mixers differ and have something to learn. */
export function trainedLayers(teacher: CausalModel, student: CausalModel): number[] {
  return transferredLayers(teacher, student).filter((layer) => parametersOfMixers(student, [layer]).size > 0);
}

/** Rows that layers are trained on. @param rows of the training text */
export function transferRows(rows = Infinity): number {
  return Math.min(rows, mostTransferRows);
}

/** The share of the peak rate of each parameter. */
function rateFactors({ mixerRate, sharedRate }: TrainingStage, { model }: Weighted): (name: string) => number {
  const own = parametersOfMixers(model);
  const peak = Math.max(mixerRate, sharedRate);
  return (name) => (own.has(name) ? mixerRate : sharedRate) / peak;
}
