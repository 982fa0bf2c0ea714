/** A study of classifiers: models × tasks × methods × seeds, fine-tuned and measured by the numbers of each task. */
import { createHash } from 'node:crypto';
import { withFreshHead } from '../../checkpoint/load-classifier.ts';
import { LabelledDataset } from '../../data/datasets/labelled.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { LinnetError } from '../../errors.ts';
import { accuracy, regression } from '../../evaluation/tasks/accuracy.ts';
import { classQuality, numberQuality } from '../../evaluation/tasks/metrics/quality.ts';
import { regressionLabel } from '../../models/classifiers/classifier.ts';
import { type Model, requireModelKind } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearizeByName } from '../../models/linearization/linearize.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { classificationObjective, sequenceObjective } from '../../training/objectives/encoders.ts';
import { type TrainingSettings, parseTrainingSettings } from '../../training/settings.ts';
import { withRecipe } from '../../training/recipes.ts';
import type { TrainingJob } from '../../training/trainer.ts';
import { Study } from '../frame/run-study.ts';
import type { PlanSource, TrialHooks, Trials } from '../frame/study.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { openStart, requireVocabulary, type StartingModel, trainTrial } from '../frame/train-trial.ts';
import type { Measure } from './glue.ts';
import {
  type ClassificationMeasured,
  classificationMeasured,
  type ClassificationPlace,
  type ClassificationPlan,
  classificationPlan,
} from './plan.ts';
import { reportClassification } from './report.ts';
import { readTaskRows, type TaskRows } from './rows.ts';
import { rankTargets, sourceText, textLabels } from './text-labels.ts';

interface ClassificationTrial extends ClassificationPlace {
  readonly start: StartingModel;
  readonly tokenizer: Tokenizer;
  readonly form: 'head' | 'text';
  readonly mixer: ClassificationPlan['methods'][string];
  readonly rows: TaskRows;
  readonly settings: TrainingSettings;
}

export const classificationStudy = new Study<
  ClassificationPlan,
  ClassificationTrial,
  ClassificationPlace,
  ClassificationMeasured
>({
  name: 'classification',
  description:
    'Fine-tunes classifiers for GLUE or tasks of the plan: every model with every method, task and seed; then accuracy, F1, ' +
    'Matthews or the correlations of the validation rows. docs/study.md describes the plan.',
  examples: ['linnet study sweep --plan node_modules/linnet/assets/sweeps/classification.json --out runs/reviews'],
  plan: classificationPlan,
  measured: classificationMeasured,
  load: loadClassification,
  place: ({ model, task, method, seed }) => ({ model, task, method, seed }),
  identity: classificationIdentity,
  run: runClassificationTrial,
  figures: ({ measures }) => Object.fromEntries(Object.entries(measures)),
  report: (results, { plan, trials }) => reportClassification(plan, trials, results),
});

/** @throws LinnetError as `readTaskRows`, and `CONFIG` for an impossible model, method or setting */
async function loadClassification(plan: ClassificationPlan, source: PlanSource): Promise<Trials<ClassificationTrial>> {
  const tasks = await readTaskRows(plan, source.place);
  const trials: ClassificationTrial[] = [];
  for (const [model, described] of Object.entries(plan.models)) {
    const { form, training } = described;
    const start = await openStart(described, source);
    const tokenizer = await loadTokenizer(start.loaded?.path ?? (await source.model(described.tokenizer ?? '')));
    if (start.loaded === undefined) requireVocabulary(model, start.model, tokenizer);
    for (const rows of tasks) {
      for (const [method, mixer] of Object.entries(plan.methods)) {
        for (const seed of plan.seeds) {
          const { recipe, ...given } = { ...plan.training, ...training };
          const settings = parseTrainingSettings(withRecipe(recipe, { ...given, seed }));
          trials.push({ model, task: rows.task.name, method, seed, start, tokenizer, form, mixer, rows, settings });
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

interface PreparedTrial {
  readonly job: Omit<TrainingJob, keyof TrialHooks | 'settings'>;
  readonly measure: (
    trained: TrainingJob['parameters'],
    options: TrialHooks,
  ) => Promise<Partial<Record<Measure, number>>>;
}

function startingModel({ start: { model, loaded }, mixer, seed }: ClassificationTrial) {
  const parameters = loaded?.parameters ?? initializeParameters(model, new Random(seed));
  const { preset, ...options } = mixer;
  const started = preset === 'unchanged' ? { model, parameters } : linearizeByName(model, parameters, preset, options);
  return { ...started, origin: loaded?.fingerprint };
}

function preparedHead(trial: ClassificationTrial): PreparedTrial {
  const { tokenizer, rows, settings, seed } = trial;
  const { labels } = rows;
  const start = startingModel(trial);
  const { model, parameters } = withFreshHead(start.model, start.parameters, labels ?? [regressionLabel], seed);
  const options = { layout: start.model.kind, labels, length: settings.length };
  const dataset = new LabelledDataset(rows.train, tokenizer, options);
  const objective = classificationObjective(model, dataset.length, settings);
  return {
    job: { model, parameters, origin: start.origin, dataset, objective },
    async measure(trained, { compile, signal }) {
      const validation = new LabelledDataset(rows.validation, tokenizer, options);
      const measured = labels === undefined ? regression : accuracy;
      return measured(model, trained, validation, { compile, signal });
    },
  };
}

function preparedText(trial: ClassificationTrial): PreparedTrial {
  const { tokenizer, rows, settings } = trial;
  const { task, labels } = rows;
  const { length } = settings;
  const { parameters, origin, model: started } = startingModel(trial);
  const model = requireTextModel(started, trial.model);
  const { targets, targetOf } = textLabels(task, labels);
  const pairs = rows.train.map((row) => ({ source: sourceText(task, row), target: targets[targetOf(row.label)] }));
  const dataset = new TextPairDataset(pairs, tokenizer, { length, startId: model.startId });
  return {
    job: { model, parameters, origin, dataset, objective: sequenceObjective(model, dataset.lengths, settings) },
    async measure(trained, hooks) {
      const sources = rows.validation.map((row) => sourceText(task, row));
      const found = await rankTargets(model, trained, tokenizer, { sources, targets, length }, hooks);
      if (labels === undefined) {
        const given = rows.validation.map(({ label }) => Number(label));
        const numbers = found.map((index) => Number(targets[index]));
        return numberQuality(given, numbers);
      }
      const gold = rows.validation.map((row) => knownLabel(targetOf(row.label), row));
      return classQuality(labels, gold, found);
    },
  };
}

function requireTextModel(model: Model, name: string): EncoderDecoderModel {
  return requireModelKind(
    model,
    'encoder-decoder',
    ({ family }) =>
      `model "${name}" has the form "text", which is of encoder-decoder models; a ${family} model gets a "head"`,
  );
}

function knownLabel(id: number, { label, source }: { readonly label: string; readonly source: string }): number {
  if (id >= 0) return id;
  throw new LinnetError('INPUT', `${source} has the label "${label}", which no training row has`);
}

const preparations = { head: preparedHead, text: preparedText };

function classificationIdentity(trial: ClassificationTrial): string {
  const { form, rows, settings } = trial;
  const { job } = preparations[form](trial);
  const hash = createHash('sha256');
  const described = { form, origin: job.origin, settings, data: job.dataset.fingerprint(), labels: rows.labels };
  hash.update(JSON.stringify({ ...described, model: job.model.toJson() }));
  for (const { text, pair, label } of rows.validation) hash.update(JSON.stringify([text, pair, label]));
  return hash.digest('hex');
}

async function runClassificationTrial(trial: ClassificationTrial, hooks: TrialHooks): Promise<ClassificationMeasured> {
  const started = performance.now();
  const { job, measure } = preparations[trial.form](trial);
  const { parameters, loss } = await trainTrial({ ...job, settings: trial.settings }, hooks);
  const all = await measure(parameters, hooks);
  return {
    measures: Object.fromEntries(trial.rows.task.measures.map((name) => [name, all[name]])),
    texts: trial.rows.validation.length,
    loss,
    parameters: parameterCount(job.model.parameters),
    seconds: (performance.now() - started) / 1000,
  };
}
