/** Tasks of classification as lessons of a sweep: a head on the model, or an encoder-decoder model that writes the label. */
import { withFreshHead } from '../../checkpoint/load-classifier.ts';
import { LabelledDataset } from '../../data/datasets/labelled.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { LinnetError } from '../../errors.ts';
import { accuracy, regression } from '../../evaluation/tasks/accuracy.ts';
import { classQuality, numberQuality } from '../../evaluation/tasks/metrics/quality.ts';
import { classifier, regressionLabel } from '../../models/classifiers/classifier.ts';
import { type Model, requireModelKind } from '../../models/families/index.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { classificationObjective, sequenceObjective } from '../../training/objectives/encoders.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import type { PlanSource, TrialHooks } from '../frame/study.ts';
import { openStart, requireVocabulary, type TrainedTrial } from '../frame/train-trial.ts';
import type { Measure } from './glue.ts';
import { readTaskRows, type TaskRows } from './labelled-rows.ts';
import type { PreparedLesson, SweepSubject } from './lesson.ts';
import type { ClassificationPlan } from './plan.ts';
import { rankTargets, sourceText, textLabels } from './text-labels.ts';

/** The models of a plan, and its tasks for each. @throws LinnetError as `readTaskRows` and `openStart` */
export async function classificationSubjects(
  plan: ClassificationPlan,
  source: PlanSource,
): Promise<(name: string) => Promise<SweepSubject>> {
  const tasks = await readTaskRows(plan, source.place);
  return async (name) => {
    const choice = plan.models[name];
    const start = await openStart(choice, source);
    const tokenizer = await loadTokenizer(start.loaded?.path ?? (await source.tokenizer(choice.tokenizer ?? '')));
    if (start.loaded === undefined) requireVocabulary(name, start.model, tokenizer);
    const lessons = tasks.map((rows) => {
      const { task, labels, train, validation } = rows;
      const counts = `${formatCount(train.length)} rows to train on, ${formatCount(validation.length)} measured`;
      return {
        task: task.name,
        extent: [task.name, counts] as const,
        measured: validation.length,
        prepare(model: Model, settings: TrainingSettings): PreparedLesson {
          const { measure, ...job } = forms[choice.form]({ name, model, tokenizer, rows, settings });
          return {
            ...job,
            *measuredOn() {
              yield JSON.stringify([choice.form, labels]);
              for (const { text, pair, label } of validation) yield JSON.stringify([text, pair, label]);
            },
            async measure({ parameters }, hooks) {
              const all = await measure(parameters, hooks);
              const measures = Object.fromEntries(task.measures.map((measured) => [measured, all[measured]]));
              return { measures, texts: validation.length };
            },
          };
        },
      };
    });
    return { start, lessons: () => Promise.resolve(lessons) };
  };
}

interface TaskModel {
  /** In the plan. */
  readonly name: string;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly rows: TaskRows;
  readonly settings: TrainingSettings;
}

/** The training of a form, and its measurement. */
type PreparedForm = Omit<PreparedLesson, 'measuredOn' | 'measure'> & {
  readonly measure: (
    trained: TrainedTrial['parameters'],
    hooks: TrialHooks,
  ) => Promise<Partial<Record<Measure, number>>>;
};

const forms: Readonly<Record<'head' | 'text', (given: TaskModel) => PreparedForm>> = {
  head({ model: backbone, tokenizer, rows: { labels, train, validation }, settings }) {
    const names = labels ?? [regressionLabel];
    const model = classifier(backbone, names);
    const options = { layout: backbone.kind, labels, length: settings.length };
    const dataset = new LabelledDataset(train, tokenizer, options);
    return {
      model,
      dataset,
      objective: classificationObjective(model, dataset.length, settings),
      start: (weights) => withFreshHead(backbone, weights, names, settings.seed).parameters,
      async measure(trained, { compile, signal }) {
        const measured = new LabelledDataset(validation, tokenizer, options);
        return await (labels === undefined ? regression : accuracy)(model, trained, measured, { compile, signal });
      },
    };
  },
  text({ name, model: given, tokenizer, rows: { task, labels, train, validation }, settings }) {
    const { length } = settings;
    const model = requireModelKind(
      given,
      'encoder-decoder',
      ({ family }) =>
        `model "${name}" has the form "text", which needs an encoder-decoder; for a ${family} model, give "head"`,
    );
    const { targets, targetOf } = textLabels(task, labels);
    const pairs = train.map((row) => ({ source: sourceText(task, row), target: targets[targetOf(row.label)] }));
    const dataset = new TextPairDataset(pairs, tokenizer, { length, startId: model.startId });
    return {
      model,
      dataset,
      objective: sequenceObjective(model, dataset.lengths, settings),
      async measure(trained, hooks) {
        const sources = validation.map((row) => sourceText(task, row));
        const found = await rankTargets(model, trained, tokenizer, { sources, targets, length }, hooks);
        if (labels === undefined) {
          const numbers = found.map((index) => Number(targets[index]));
          return numberQuality(
            validation.map(({ label }) => Number(label)),
            numbers,
          );
        }
        const gold = validation.map((row) => knownLabel(targetOf(row.label), row));
        return classQuality(labels, gold, found);
      },
    };
  },
};

function knownLabel(id: number, { label, source }: { readonly label: string; readonly source: string }): number {
  if (id >= 0) return id;
  throw new LinnetError('INPUT', `${source} has the label "${label}", which no training row has`);
}
