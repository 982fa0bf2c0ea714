/** A study of classifiers: models × tasks × methods × seeds, fine-tuned and measured by the numbers of each task. */
import { createHash } from 'node:crypto';
import { withFreshHead } from '../../checkpoint/load-classifier.ts';
import { type LoadedModel, loadModel } from '../../checkpoint/load-model.ts';
import { LabelledDataset } from '../../data/datasets/labelled.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import type { RowDataset } from '../../data/rows/row-dataset.ts';
import { LinnetError } from '../../errors.ts';
import { accuracy, regression } from '../../evaluation/tasks/accuracy.ts';
import { classQuality, numberQuality } from '../../evaluation/tasks/metrics/quality.ts';
import { regressionLabel } from '../../models/classifiers/classifier.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearizeByName } from '../../models/linearization/linearize-by-name.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { classificationObjective } from '../../training/objectives/classification.ts';
import { sequenceObjective } from '../../training/objectives/sequence-to-sequence.ts';
import { withRecipe } from '../../training/recipes.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import type { TrainingJob } from '../../training/trainer.ts';
import type { PlanSource, StudyDefinition, TrialHooks, Trials } from '../frame/study.ts';
import { parameterCount, trainTrial } from '../frame/train-trial.ts';
import { requireVocabulary } from '../sweep/study.ts';
import type { Measure } from './glue.ts';
import { type ClassificationModel, type ClassificationPlan, classificationPlan } from './plan.ts';
import { reportClassification } from './report.ts';
import { readTaskRows } from './rows.ts';
import { rankTargets, sourceText, textLabels } from './text-labels.ts';
import {
  type ClassificationMeasured,
  classificationMeasured,
  type ClassificationPlace,
  type ClassificationTrial,
  type ClassifierBase,
} from './trial.ts';

export const classificationStudy: StudyDefinition<
  ClassificationPlan,
  ClassificationTrial,
  ClassificationPlace,
  ClassificationMeasured
> = {
  name: 'classification',
  description:
    'Fine-tunes classifiers for GLUE or tasks of the plan: every model with every method, task and seed; then accuracy, F1, ' +
    'Matthews or the correlations of the validation rows. docs/study.md describes the plan.',
  examples: ['linnet study classification --plan assets/sweeps/classification.json --out runs/reviews'],
  plan: classificationPlan,
  measured: classificationMeasured,
  load: loadClassification,
  place: ({ model, task, method, seed }) => ({ model, task, method, seed }),
  identity: classificationIdentity,
  run: runClassificationTrial,
  figures: ({ measures }) => Object.fromEntries(Object.entries(measures)),
  report: (results, { plan, trials }) => reportClassification(plan, trials, results),
};

/** @throws LinnetError as `readTaskRows`, and `CONFIG` for an impossible model, method or setting */
async function loadClassification(
  plan: ClassificationPlan,
  { place }: PlanSource,
): Promise<Trials<ClassificationTrial>> {
  const tasks = await readTaskRows(plan, place);
  const trials: ClassificationTrial[] = [];
  for (const [model, described] of Object.entries(plan.models)) {
    const base = await openBase(model, described, place);
    for (const rows of tasks) {
      for (const [method, mixer] of Object.entries(plan.methods)) {
        for (const seed of plan.seeds) {
          const { recipe, ...given } = { ...plan.training, ...described.training };
          const settings = parseTrainingSettings(withRecipe(recipe, { ...given, seed }));
          trials.push({ model, task: rows.task.name, method, seed, base, mixer, rows, settings });
        }
      }
    }
  }
  const counts = tasks.map(
    ({ task, train, validation }) =>
      `${task.name}: ${formatCount(train.length)} rows, ${formatCount(validation.length)} measured`,
  );
  return { trials, note: `${formatCount(trials.length)} trials; ${counts.join('; ')}` };
}

async function openBase(
  name: string,
  { folder, config = {}, tokenizer: tokenizerFolder = '', form }: ClassificationModel,
  place: PlanSource['place'],
): Promise<ClassifierBase> {
  if (folder !== undefined) {
    const loaded = await loadModel(place(folder));
    return { kind: 'pretrained', loaded, tokenizer: await loadTokenizer(loaded.path), form };
  }
  const tokenizer = await loadTokenizer(place(tokenizerFolder));
  requireVocabulary(name, describeModel(config), tokenizer);
  return { kind: 'scratch', config, tokenizer, form };
}

type Job = Pick<TrainingJob, 'model' | 'parameters' | 'origin' | 'objective'> & { readonly dataset: RowDataset };

/** A trial ready to train, and the measurement of its result. */
interface PreparedTrial {
  readonly job: Job;
  readonly measure: (trained: Job['parameters'], options: TrialHooks) => Promise<Partial<Record<Measure, number>>>;
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

function classificationIdentity(trial: ClassificationTrial): string {
  const { job } = prepared(trial);
  const { form } = trial.base;
  const { rows, settings } = trial;
  const hash = createHash('sha256');
  const described = { form, origin: job.origin, settings, data: job.dataset.fingerprint(), labels: rows.labels };
  hash.update(JSON.stringify({ ...described, model: job.model.toJson() }));
  for (const { text, pair, label } of rows.validation) hash.update(JSON.stringify([text, pair, label]));
  return hash.digest('hex');
}

async function runClassificationTrial(trial: ClassificationTrial, hooks: TrialHooks): Promise<ClassificationMeasured> {
  const started = performance.now();
  const { job, measure } = prepared(trial);
  const { parameters, loss } = await trainTrial({ ...job, settings: trial.settings }, hooks);
  const all = await measure(parameters, hooks);
  return {
    measures: Object.fromEntries(trial.rows.task.measures.map((name) => [name, all[name]])),
    texts: trial.rows.validation.length,
    loss,
    parameters: parameterCount(job.model),
    seconds: (performance.now() - started) / 1000,
  };
}
