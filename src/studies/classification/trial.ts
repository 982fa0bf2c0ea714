/** One cell of a study of classifiers: a model with its mixers, fine-tuned for a task with a seed, and measured. */
import { createHash } from 'node:crypto';
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import { withFreshHead } from '../../checkpoint/load-classifier.ts';
import { LabelledDataset } from '../../data/datasets/labelled.ts';
import type { RowDataset } from '../../data/rows/row-dataset.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { LinnetError } from '../../errors.ts';
import { accuracy, regression } from '../../evaluation/tasks/accuracy.ts';
import { classQuality, numberQuality } from '../../evaluation/tasks/metrics/quality.ts';
import { elementCount } from '../../graph/tensor.ts';
import { regressionLabel } from '../../models/classifiers/classifier.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearizeByName } from '../../models/linearization/linearize-by-name.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { classificationObjective } from '../../training/objectives/classification.ts';
import { sequenceObjective } from '../../training/objectives/sequence-to-sequence.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import { train, type TrainingJob, type UpdateEvent } from '../../training/trainer.ts';
import type { Measure } from './glue.ts';
import type { ClassificationMethod } from './plan.ts';
import type { TaskRows } from './rows.ts';
import { rankTargets, sourceText, textLabels } from './text-labels.ts';

/** Where a model starts: weights that are drawn, or those of a folder. */
export type ClassifierBase = { readonly tokenizer: Tokenizer; readonly form: 'head' | 'text' } & (
  | { readonly kind: 'scratch'; readonly config: Readonly<Record<string, unknown>> }
  | { readonly kind: 'pretrained'; readonly loaded: LoadedModel<Model> }
);

export interface ClassificationTrial {
  /** Names in the plan. */
  readonly model: string;
  readonly method: string;
  readonly seed: number;
  readonly base: ClassifierBase;
  readonly mixer: ClassificationMethod;
  readonly rows: TaskRows;
  readonly settings: TrainingSettings;
}

/** What a trial measured. */
export interface ClassificationMeasured {
  /** The measures of the task, of the validation rows. */
  readonly measures: Readonly<Partial<Record<Measure, number>>>;
  /** Rows measured on. */
  readonly texts: number;
  /** Mean training loss of the last tenth of the optimizer steps. */
  readonly loss: number;
  readonly parameters: number;
  readonly seconds: number;
}

export interface ClassificationTrialOptions {
  readonly snapshots?: TrainingJob['snapshots'];
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onUpdate?: (event: UpdateEvent) => void;
}

type Job = Pick<TrainingJob, 'model' | 'parameters' | 'origin' | 'objective'> & { readonly dataset: RowDataset };

/** A trial ready to train, and what measures its result. */
interface PreparedTrial {
  readonly job: Job;
  readonly measure: (
    trained: Job['parameters'],
    options: ClassificationTrialOptions,
  ) => Promise<Partial<Record<Measure, number>>>;
}

/** The model before it is fine-tuned. */
function startingModel({ base, mixer, seed }: ClassificationTrial): Pick<LoadedModel<Model>, 'parameters'> & {
  readonly model: Model;
  readonly origin: string | undefined;
} {
  const plain = base.kind === 'scratch' ? describeModel(base.config) : base.loaded.model;
  const given = base.kind === 'scratch' ? initializeParameters(plain, new Random(seed)) : base.loaded.parameters;
  const origin = base.kind === 'scratch' ? undefined : base.loaded.fingerprint;
  const { preset, ...options } = mixer;
  if (preset === 'unchanged') return { model: plain, parameters: new Map(given), origin };
  const { model, parameters } = linearizeByName(plain, given, preset, options);
  return { model, parameters: new Map(parameters), origin };
}

function prepared(trial: ClassificationTrial): PreparedTrial {
  return trial.base.form === 'head' ? preparedHead(trial) : preparedText(trial);
}

function preparedHead(trial: ClassificationTrial): PreparedTrial {
  const { base, rows, settings, seed } = trial;
  const { labels } = rows;
  const start = startingModel(trial);
  const { model, parameters } = withFreshHead(start.model, start.parameters, labels ?? [regressionLabel], seed);
  const options = { layout: start.model.kind, labels, length: settings.length };
  const dataset = new LabelledDataset(rows.train, base.tokenizer, options);
  return {
    job: {
      model,
      parameters,
      origin: start.origin,
      dataset,
      objective: classificationObjective(model, dataset.length, settings),
    },
    async measure(trained, { compile, signal }) {
      const validation = new LabelledDataset(rows.validation, base.tokenizer, options);
      if (labels === undefined) {
        const { pearson, spearman } = await regression(model, trained, validation, { compile, signal });
        return { pearson, spearman };
      }
      const { accuracy: share, f1, matthews } = await accuracy(model, trained, validation, { compile, signal });
      return { accuracy: share, f1, matthews };
    },
  };
}

function preparedText(trial: ClassificationTrial): PreparedTrial {
  const { base, rows, settings } = trial;
  const { task, labels } = rows;
  const { parameters, origin, model: started } = startingModel(trial);
  const model = requireTextModel(started, trial.model);
  const { targets, targetOf } = textLabels(task, labels);
  const dataset = new TextPairDataset(
    rows.train.map((row) => ({ source: sourceText(task, row), target: targets[targetOf(row.label)] })),
    base.tokenizer,
    { length: settings.length, startId: model.startId },
  );
  return {
    job: { model, parameters, origin, dataset, objective: sequenceObjective(model, dataset.lengths, settings) },
    async measure(trained, options) {
      const sources = rows.validation.map((row) => sourceText(task, row));
      const ranking = { length: settings.length, compile: options.compile, signal: options.signal };
      const found = await rankTargets(model, trained, base.tokenizer, sources, targets, ranking);
      if (labels === undefined) {
        const gold = rows.validation.map(({ label }) => Number(label));
        const { pearson, spearman } = numberQuality(
          gold,
          found.map((index) => Number(targets[index])),
        );
        return { pearson, spearman };
      }
      const gold = rows.validation.map((row) => knownLabel(targetOf(row.label), row));
      const { accuracy: share, f1, matthews } = classQuality(labels, gold, found);
      return { accuracy: share, f1, matthews };
    },
  };
}

function requireTextModel(model: Model, name: string): EncoderDecoderModel {
  if (model.kind === 'encoder-decoder') return model;
  throw new LinnetError(
    'CONFIG',
    `model "${name}" has the form "text", which is of encoder-decoder models; a ${model.family} model gets a "head"`,
  );
}

function knownLabel(id: number, { label, source }: { readonly label: string; readonly source: string }): number {
  if (id >= 0) return id;
  throw new LinnetError('INPUT', `${source} has the label "${label}", which no training row has`);
}

/** SHA-256, in hex, of all that decides the result of a trial. */
export function classificationIdentity(trial: ClassificationTrial): string {
  const { job } = prepared(trial);
  const { form } = trial.base;
  const { rows, settings } = trial;
  const hash = createHash('sha256');
  const described = { form, origin: job.origin, settings, data: job.dataset.fingerprint(), labels: rows.labels };
  hash.update(JSON.stringify({ ...described, model: job.model.toJson() }));
  for (const { text, pair, label } of rows.validation) hash.update(JSON.stringify([text, pair, label]));
  return hash.digest('hex');
}

/**
 * Trains and measures.
 * @throws LinnetError `ABORTED` when the signal fires; with `snapshots` the next call goes on from there
 */
export async function runClassificationTrial(
  trial: ClassificationTrial,
  options: ClassificationTrialOptions = {},
): Promise<ClassificationMeasured> {
  const started = performance.now();
  const { job, measure } = prepared(trial);
  const { snapshots, compile, signal, onUpdate } = options;
  const outcome = await train({
    ...job,
    settings: trial.settings,
    snapshots,
    compile,
    signal,
    onUpdate: (event) => onUpdate?.(event),
  });
  if (!outcome.finished) {
    throw new LinnetError('ABORTED', `stopped after ${outcome.updates} of ${outcome.total} optimizer steps`);
  }
  const all = await measure(outcome.parameters, options);
  let parameters = 0;
  for (const { shape } of job.model.parameters.values()) parameters += elementCount(shape);
  return {
    measures: Object.fromEntries(trial.rows.task.measures.map((name) => [name, all[name]])),
    texts: trial.rows.validation.length,
    loss: outcome.loss ?? Number.NaN,
    parameters,
    seconds: (performance.now() - started) / 1000,
  };
}
