/** Trains a stage of a conversion: the whole model, or every layer by itself on the teacher's hidden states. */
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
import { chooseMixer, type MixerOptions, requireConverted } from './plan.ts';
import { memoryBesides, requireStep, type StepOptions } from './step-form.ts';
import {
  fewestSteps,
  isTrained,
  type Original,
  sequences,
  stageLength,
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
/** Share of a stage's time after which its trial steps end early. */
const trialShare = 0.05;
/** Rows that layers train on: enough for a mixer's few parameters. */
const mostTransferRows = 64;

/** Inputs of a stage's training. */
export interface StageContext {
  readonly teacher: Original;
  readonly student: ConvertedWeights;
  readonly tokenizer: Tokenizer;
  readonly texts: ConversionTexts;
  readonly options: ConversionOptions;
  /** This conversion's identity. */
  readonly origin: string;
  /** The student's weights file. */
  readonly weights: string;
  /** The stage's folder: snapshots and everything else that a resumed stage needs. */
  readonly folder: string;
  /** A number that an earlier run planned (optimizer steps), otherwise the result of `measure`, which is recorded. */
  readonly planned: (name: string, measure: () => Promise<number>) => Promise<number>;
}

/** A trained stage. */
interface TrainedStage extends Pick<StageResult, 'steps' | 'layers'>, Omit<ConvertedWeights, 'model'> {}

/** A stage's optimizer steps and their cost, known before they are made. */
interface StageCost extends TransferCost {
  readonly length: number;
  readonly batch: number;
  readonly form: MemoryForm;
}

/** Options that a stage's cost depends on. */
export interface StageCostOptions extends StepOptions {
  /** Rows in the training text. Default: enough. */
  readonly rows?: number;
}

/** A stage ready to train. */
interface OpenStage {
  /** Optimizer steps that fit its time, after a trial; 0 for too few. */
  fittingSteps(): Promise<number>;
  /** @throws LinnetError `ABORTED` by the signal, once the folder has all that a resumed stage needs */
  train(steps: number, onStep: (done: number, total: number, loss: number) => void): Promise<TrainedStage>;
}

interface StageWork {
  /** Undefined if there is nothing to train. @throws LinnetError like `requireStep` */
  cost(stage: TrainingStage, teacher: Weighted, student: Weighted, options: StageCostOptions): StageCost | undefined;
  /** Undefined if there is nothing to train. @throws LinnetError like `train` */
  open(stage: TrainingStage, context: StageContext): Promise<OpenStage | undefined>;
}

export const stageWork: Readonly<Record<TrainingStage['by'], StageWork>> = {
  model: {
    cost(stage, teacher, student, options) {
      const step = requireStep(stage, teacher, student, options);
      if (step === undefined) return undefined;
      const { form, cost } = step;
      return {
        length: stageLength(stage, student.model, options),
        batch: options.batch ?? sequences,
        microBatch: cost.microBatch,
        form: form === 'whole' ? form : 'layers',
        memoryBytes: cost.bytes,
        diskBytes: 2 * cost.trainingBytes,
        passOperations: 0,
        stepOperations: cost.operations,
      };
    },
    open: openModel,
  },
  layers: {
    // With everything else in memory: the largest micro-batch that fits.
    cost(stage, teacher, student, options) {
      const layers = trainedLayers(teacher.model, student.model);
      const rows = transferRows(options.rows);
      if (layers.length === 0 || rows < 2) return undefined;
      const { memoryBytes: limit = memoryLimit(undefined) } = options;
      const length = stageLength(stage, student.model, options);
      const batch = Math.max(1, Math.min(options.batch ?? sequences, Math.floor(rows / 2)));
      const besides = memoryBesides(teacher, student, options);
      const cost = transferCost(teacher.model, student.model, layers, { rows, length, batch }, limit - besides);
      return { ...cost, memoryBytes: cost.memoryBytes + besides, length, batch, form: 'layers' };
    },
    open: openLayers,
  },
};

/**
 * Trains a stage for the steps that an earlier run planned, that the options give, or that fit its time. Undefined if there
 * is nothing to train, or no time.
 * @throws LinnetError like `train`; `ABORTED` by the signal, once the folder has all that a resumed stage needs
 */
export async function trainStage(stage: TrainingStage, context: StageContext): Promise<TrainedStage | undefined> {
  const { options, planned } = context;
  const { budget, onEvent } = options;
  const { name, share, description } = stage;
  if (!isTrained(stage, options)) return undefined;
  const opened = await stageWork[stage.by].open(stage, context);
  if (opened === undefined) return undefined;
  const steps = await planned(name, async () => options.steps?.[name] ?? (await opened.fittingSteps()));
  if (steps === 0) {
    const time = formatDuration(share * budget);
    const reason = `fewer than ${fewestSteps} optimizer steps fit into its ${time}; give more time, or its number of steps`;
    onEvent?.({ kind: 'skipped', stage: name, reason });
    return undefined;
  }
  onEvent?.({ kind: 'started', stage: name, steps, description });
  return await opened.train(steps, (done, total, loss) => onEvent?.({ kind: 'step', stage: name, done, total, loss }));
}

async function openModel(stage: TrainingStage, context: StageContext): Promise<OpenStage | undefined> {
  const { teacher, student, tokenizer, texts, options, origin, folder, planned } = context;
  const length = stageLength(stage, student.model, options);
  const prepared = stage.prepare(teacher, student, length);
  if (prepared === undefined) return undefined;
  const dataset = await trainingRows(texts.training, tokenizer, length);
  const { batch = sequences, seed = 0, budget, compile, signal } = options;
  let step: FormedStep | undefined;
  const required = () => (step ??= requireStep(stage, teacher, student, options));
  const microBatch = await planned(`${stage.name} micro-batch`, async () => required()?.cost.microBatch ?? batch);
  const form =
    stepForms[await planned(`${stage.name} form`, async () => stepForms.indexOf(required()?.form ?? 'whole'))];
  const { trained } = prepared;
  const changed = changedIn(form, prepared);
  const inMemory = selectParameters(prepared.parameters, (name) => form === 'whole' || changed.has(name));
  const { lora, ...formed } = jobInForm(form, prepared, await loadTensors(inMemory), seed);
  const job = { ...formed, dataset, compile, rateFactor: rateFactors(stage, student), origin };
  const k = Math.min(usualTop, student.model.sizes.vocabulary);
  const cached = form === 'whole' ? prepared.cached?.(k) : undefined;
  const settings = (steps: number) => stageSettings(stage, { steps, length, batch, microBatch, seed });
  // Steps that read rows for the first time.
  const once = Math.floor(dataset.rows / batch);
  return {
    async fittingSteps() {
      const started = performance.now();
      const seconds = (): number => (performance.now() - started) / 1000;
      const times: number[] = [];
      const enough = new AbortController();
      const onUpdate = (event: { readonly seconds: number }): void => {
        times.push(event.seconds);
        // Two steps suffice for the time if four would take much of it.
        if (times.length === 2 && seconds() > trialShare * stage.share * budget) enough.abort();
      };
      const stopped = [enough.signal, ...(signal === undefined ? [] : [signal])];
      await train({ ...job, settings: settings(timedSteps), onUpdate, signal: AbortSignal.any(stopped) });
      requireRunning(signal, `while steps of ${stage.name} were timed`);
      const steps = stepsWithin(stage.share * budget, seconds(), times);
      const beyond = steps - once;
      if (cached === undefined || beyond <= 0) return steps;
      const costOf = (objective: Objective): number =>
        stepCost({ ...job, objective, settings: settings(timedSteps) }).operations;
      return once + Math.floor((beyond * costOf(job.objective)) / costOf(cached));
    },
    async train(steps, onStep) {
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
              compile,
            });
      const outcome = await train({
        ...job,
        ...(feature !== undefined && cached !== undefined && { objective: cached, feature }),
        settings: settings(steps),
        snapshots: { folder, every: snapshotEvery },
        signal,
        onUpdate: ({ update, total, loss }) => onStep(update, total, loss),
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
    },
  };
}

/**
 * The converted model before layers are chosen by measuring: the first ones stand in for them. @throws LinnetError `INPUT` if
 * all are kept, or layers without attention
 */
export function plannedStudent(
  { model, parameters }: Weighted,
  options: MixerOptions & Pick<ConversionOptions, 'keep'>,
): Weighted {
  const { keep } = options;
  const layers = exchangeableLayers(model);
  const kept = 'layers' in keep ? keep.layers : layers.slice(0, keep.auto);
  requireKept(kept, layers);
  requireConverted(new Set(kept).size, layers.length);
  const changed = withMixer(model, chooseMixer(model, options, layers.length - kept.length), kept);
  return { model: changed, parameters };
}

/** @param layers the model's layers with attention @throws LinnetError `INPUT` for any other kept layer */
export function requireKept(kept: readonly number[], layers: readonly number[]): void {
  const unknown = kept.find((layer) => !layers.includes(layer));
  if (unknown === undefined) return;
  throw new LinnetError('INPUT', `layer ${unknown} has no attention to keep; layers with one are ${layers.join(', ')}`);
}

/**
 * Checks options and the memory of all stages that train the whole model.
 * @throws LinnetError like `requireStep`, `INPUT` like `chooseMixer`, `CONFIG` for a queue of layers that learn one after the
 *   other
 */
export function requireStages(original: Weighted, options: ConversionOptions & StepOptions): void {
  if (options.queue !== undefined && options.inputs === 'converted') {
    throw new LinnetError(
      'CONFIG',
      'layers that learn on hidden states of converted layers train in sequence; omit `queue` or `inputs`',
    );
  }
  const student = plannedStudent(original, options);
  for (const stage of trainingStages) {
    if (stage.by === 'model' && isTrained(stage, options)) requireStep(stage, original, student, options);
  }
}

async function openLayers(stage: TrainingStage, context: StageContext): Promise<OpenStage | undefined> {
  const { teacher, student, tokenizer, texts, options, origin, folder, planned, weights } = context;
  const layers = trainedLayers(teacher.model, student.model);
  if (layers.length === 0) return undefined;
  const started = performance.now();
  const length = stageLength(stage, student.model, options);
  const dataset = await trainingRows(texts.training, tokenizer, length);
  const rows = transferRows(dataset.rows);
  const { compile, signal, queue, seed = 0 } = options;
  const cost = stageWork.layers.cost(stage, teacher, student, { ...options, rows });
  if (cost === undefined) {
    const reason = `${rows} rows of text; expected at least 2. Give more data`;
    options.onEvent?.({ kind: 'skipped', stage: stage.name, reason });
    return undefined;
  }
  const { batch } = cost;
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
  const settings = (steps: number) => stageSettings(stage, { steps, length, batch, microBatch, seed });
  return {
    async fittingSteps() {
      const inputs = { teacher, student, states: await states.before(layers[0]) };
      const before = (performance.now() - started) / 1000;
      const timed = await layerStepTimes(inputs, layers[0], { settings: settings(timedSteps), compile, signal });
      const { operations, rows: atOnce } = passCost(teacher.model, layers[0], length);
      const passes = (layers.length * operations * (rows / atOnce)) / (await measureOperations(compile));
      const each = (stage.share * options.budget - before - passes - timed.seconds) / layers.length;
      return stepsWithin(each + timed.seconds, timed.seconds, timed.times);
    },
    async train(steps, onStep) {
      const total = stored.open.length * steps;
      const learned = { settings: settings(steps), signal };
      if (queue !== undefined) {
        const queued = [];
        for (const layer of layers) queued.push({ layer, states: await states.before(layer) });
        await trainLayersInQueue(student, queued, folder, {
          ...learned,
          queue,
          teacher: teacher.path,
          weights,
          onLayer: (done, _, { after }) => onStep(done * steps, total, after),
        });
      }
      const trained = await transferLayers({ teacher, student }, stored.open, states, folder, {
        ...learned,
        compile,
        onResult: stored.keep,
        onUpdate: (done, { loss }) => onStep(done, total, loss),
      });
      const results = [...stored.known.values(), ...trained].sort((one, other) => one.layer - other.layer);
      return {
        parameters: new Map([...student.parameters, ...results.flatMap((result) => [...result.parameters])]),
        updates: student.updates,
        steps,
        layers: results.map(({ layer, before, after }) => ({ layer, before, after })),
      };
    },
  };
}

/** Layers whose mixers differ and have something to learn. */
export function trainedLayers(teacher: CausalModel, student: CausalModel): number[] {
  return transferredLayers(teacher, student).filter((layer) => parametersOfMixers(student, [layer]).size > 0);
}

/** Rows that layers train on. @param rows in the training text */
export function transferRows(rows = Infinity): number {
  return Math.min(rows, mostTransferRows);
}

/** Each parameter's share of the peak rate. */
function rateFactors({ mixerRate, sharedRate }: TrainingStage, { model }: Weighted): (name: string) => number {
  const own = parametersOfMixers(model);
  const peak = Math.max(mixerRate, sharedRate);
  return (name) => (own.has(name) ? mixerRate : sharedRate) / peak;
}
