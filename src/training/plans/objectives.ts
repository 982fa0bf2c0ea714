/** Objectives of fine-tuning: the form of `data`, the loss, and the saved result. */
import { z } from 'zod';
import { startClassifier } from '../../checkpoint/load-classifier.ts';
import { loadCausalModel, loadModel, readModelConfig } from '../../checkpoint/load-model.ts';
import type { Document } from '../../data/documents/document.ts';
import {
  LabelledDataset,
  labelledFields,
  type LabelledText,
  labelShape,
  labelsOf,
  readLabelledTexts,
} from '../../data/datasets/labelled.ts';
import type { RowDataset } from '../../data/rows/row-dataset.ts';
import { maskedDocuments } from '../../data/datasets/masked.ts';
import { layoutOf } from '../../data/datasets/text-layouts.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { describeClassifier, isClassifierConfig, regressionLabel } from '../../models/classifiers/classifier.ts';
import { describeModel, type Model, requireModelKind } from '../../models/families/index.ts';
import { byKind } from '../../models/model.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { classificationObjective, maskedObjective, sequenceObjective } from '../objectives/encoders.ts';
import { causalObjective, type Objective } from '../objectives/next-token.ts';
import { type TrainingOptions, recomputeShape, refuseLabelSmoothing, runShape } from './options.ts';
import { requireLength, type TrainingSettings, described } from '../settings.ts';
import type { AdaptationBase } from './adaptation.ts';
import { modelPlan, type TrainingPlan } from './plan.ts';
import { loadPackedText, loadPairs, loadTrainingDocuments, pairShape, withoutHeldOut } from './text.ts';

const objectiveNames = ['causal', 'masked', 'seq2seq', 'classify', 'regress'] as const;
/** An objective of fine-tuning. */
export type ObjectiveName = (typeof objectiveNames)[number];

const { field, packing } = runShape;
const fields = { ...labelShape, ...pairShape };

export const objectiveShape = {
  objective: described(
    z.enum(objectiveNames).optional(),
    'name',
    'causal: the next token; masked: masked tokens; seq2seq: a target text, or spans cut out of plain text; classify: ' +
      'labels of texts; regress: numbers of texts (default: by the kind of model; for classifiers, by the head)',
  ),
  ...recomputeShape,
  ...fields,
};

/** The options of fields that an objective reads. */
const readFields: Readonly<Record<ObjectiveName, object>> = {
  causal: { field, packing },
  masked: { field },
  seq2seq: { ...pairShape, field },
  classify: labelShape,
  regress: labelShape,
};

type ObjectiveOptions = TrainingOptions & z.output<z.ZodObject<typeof objectiveShape>>;

/** A plan, and its properties for low-rank adaptation. */
export interface PlannedObjective {
  readonly plan: TrainingPlan;
  readonly base: AdaptationBase;
}

type Prepare = (
  folder: string,
  options: ObjectiveOptions,
  settings: TrainingSettings,
  load: typeof loadCausalModel,
) => Promise<PlannedObjective>;

const defaultObjectives: Readonly<Record<Model['kind'], ObjectiveName>> = {
  causal: 'causal',
  encoder: 'masked',
  'encoder-decoder': 'seq2seq',
};

/** The requested objective, or the usual one of the folder's model. @throws LinnetError as `readModelConfig` */
export async function objectiveOf(
  folder: string,
  { objective }: Pick<ObjectiveOptions, 'objective'>,
): Promise<ObjectiveName> {
  if (objective !== undefined) return objective;
  const config = await readModelConfig(folder);
  if (!isClassifierConfig(config)) return defaultObjectives[describeModel(config).kind];
  return describeClassifier(config).isRegression ? 'regress' : 'classify';
}

/** Loads model and data for the requested objective; causal models by `load`. @throws LinnetError `CONFIG` for a model it does not fit */
export async function prepareObjective(
  folder: string,
  options: ObjectiveOptions,
  settings: TrainingSettings,
  load = loadCausalModel,
): Promise<PlannedObjective> {
  const objective = await objectiveOf(folder, options);
  if (options.recompute && objective !== 'causal') {
    throw new OptionsError(`\`recompute\` is for models that predict the next token; the objective is ${objective}`);
  }
  const [given, defaults] = [options, {}].map((source) =>
    Object.entries(z.object({ ...fields, field, packing }).parse(source)),
  );
  const usual = new Map(defaults);
  for (const [name, value] of given) {
    if (value !== usual.get(name) && !(name in readFields[objective])) {
      throw new OptionsError(`the objective ${objective} reads no \`${name}\`; leave it out`);
    }
  }
  return await preparations[objective](folder, options, settings, load);
}

/** Model, data and loss of an objective. */
interface Prepared<Rows extends RowDataset>
  extends Pick<TrainingPlan, 'summary' | 'configuration' | 'trainedLength'>,
    Pick<AdaptationBase, 'model' | 'task' | 'fresh'> {
  readonly loaded: Parameters<typeof modelPlan>[0];
  readonly dataset: Rows;
  /** Rows of the held-out texts, if any. */
  readonly heldOut?: () => Promise<Rows>;
  readonly objective: (rows: Rows) => Objective;
}

function planned<Rows extends RowDataset>(
  options: TrainingOptions,
  { loaded, dataset, heldOut, objective, model, task, fresh, ...described }: Prepared<Rows>,
): PlannedObjective {
  const measured = (rows: Rows) => ({ dataset: rows, objective: objective(rows) });
  return {
    plan: {
      ...modelPlan(loaded, options),
      ...described,
      ...measured(dataset),
      heldOutRows: heldOut && (async () => measured(await heldOut())),
    },
    base: { model, task, fresh, path: loaded.path, fingerprint: loaded.fingerprint },
  };
}

const preparations: Readonly<Record<ObjectiveName, Prepare>> = {
  async causal(folder, options, settings, load) {
    const loaded = await load(folder);
    const { model, path } = loaded;
    const { heldOutRows, ...text } = await loadPackedText(options, settings, await loadTokenizer(path), model);
    const { dataset, summary, configuration } = text;
    const learner = options.recompute ? recomputing(model) : model;
    return planned(options, {
      loaded,
      model,
      task: 'CAUSAL_LM',
      trainedLength: model.sizes.trainedLength,
      dataset,
      heldOut: heldOutRows,
      summary,
      configuration,
      objective: () => causalObjective(learner, settings.length, settings),
    });
  },
  async masked(folder, options, settings) {
    const { seed } = settings;
    const given = await loadModel(folder);
    const model = requireModelKind(given.model, 'encoder', unsuited('masked'));
    const length = rowLength(model, options, settings);
    const { documents, heldOut } = await loadTrainingDocuments(options);
    const tokenizer = await loadTokenizer(given.path);
    const rowsOf = (texts: readonly Document[]) => maskedDocuments(texts, tokenizer, { length, seed });
    const dataset = rowsOf(documents);
    return planned(options, {
      loaded: { ...given, model },
      model,
      task: 'FEATURE_EXTRACTION',
      dataset,
      heldOut: () => Promise.resolve(rowsOf(heldOut)),
      summary: `${formatCount(documents.length, 'document')} in ${formatCount(dataset.rows, 'row')}`,
      configuration: { objective: 'masked', field: options.field },
      objective: () => maskedObjective(model, length, settings),
    });
  },
  async seq2seq(folder, options, settings) {
    const given = await loadModel(folder);
    const model = requireModelKind(given.model, 'encoder-decoder', unsuited('seq2seq'));
    const pairs = await loadPairs(options, settings, model, await loadTokenizer(given.path));
    const { dataset, heldOut, summary, configuration } = pairs;
    return planned(options, {
      loaded: { ...given, model },
      model,
      task: 'SEQ_2_SEQ_LM',
      summary,
      dataset,
      heldOut: heldOut && (() => Promise.resolve(heldOut)),
      configuration: { objective: 'seq2seq', ...configuration },
      objective: ({ lengths }) => sequenceObjective(model, lengths, settings),
    });
  },
  async classify(folder, options, settings) {
    const all = await readLabelledTexts(options.data, labelledFields(options));
    const unlabelled = all.find(({ label }) => label.trim() === '');
    if (unlabelled !== undefined) throw new LinnetError('FORMAT', `${unlabelled.source} has an empty label`);
    const labels = labelsOf(all);
    if (labels.length < 2) {
      throw new LinnetError(
        'CONFIG',
        `all texts have the label ${JSON.stringify(labels[0])}; a classifier needs at least two different labels`,
      );
    }
    const summary = `texts of ${formatCount(labels.length)} classes`;
    return await planHead(folder, all, { objective: 'classify', labels, summary }, options, settings);
  },
  async regress(folder, options, settings) {
    refuseLabelSmoothing(settings);
    const all = await readLabelledTexts(options.data, labelledFields(options));
    const head = { objective: 'regress', labels: undefined, summary: 'texts with numbers' } as const;
    return await planHead(folder, all, head, options, settings);
  },
};

interface PlannedHead {
  readonly objective: 'classify' | 'regress';
  /** Class names; undefined for regression. */
  readonly labels: readonly string[] | undefined;
  /** Description of the texts, after their number. */
  readonly summary: string;
}

/** @param all texts of training, followed by the held-out ones */
async function planHead(
  folder: string,
  all: readonly LabelledText[],
  { objective, labels, summary }: PlannedHead,
  options: ObjectiveOptions,
  settings: TrainingSettings,
): Promise<PlannedObjective> {
  const loaded = await startClassifier(folder, labels ?? [regressionLabel], settings.seed);
  const { model } = loaded;
  const length = rowLength(model.model, options, settings);
  const texts = withoutHeldOut(all, options);
  const tokenizer = await loadTokenizer(loaded.path);
  const rowsOf = (some: readonly LabelledText[]): LabelledDataset =>
    new LabelledDataset(some, tokenizer, { layout: layoutOf(model.model), labels, length });
  const { textField, pairField, labelField } = options;
  const dataset = rowsOf(texts);
  const cut =
    dataset.cutRows === 0 ? '' : `, ${formatCount(dataset.cutRows)} of them cut to ${formatCount(length, 'token')}`;
  return planned(options, {
    loaded,
    model: model.model,
    task: 'SEQ_CLS',
    fresh: new Set(model.headParameters.keys()),
    dataset,
    heldOut: () => Promise.resolve(rowsOf(all.slice(texts.length))),
    summary: `${formatCount(texts.length)} ${summary}${cut}`,
    configuration: { objective, textField, labelField, ...(pairField !== undefined && { pairField }) },
    objective: (rows) => classificationObjective(model, rows.length, settings),
  });
}

/** The settings' length, or the model's if that is shorter. @throws OptionsError for a longer one that is asked for */
function rowLength(model: Model, { length: asked = 0 }: ObjectiveOptions, { length }: TrainingSettings): number {
  const most = byKind(model, {
    causal: ({ positions }) => positions.limit,
    encoder: ({ sizes }) => sizes.trainedLength,
    'encoder-decoder': () => Infinity,
  });
  requireLength(asked, most);
  return Math.min(length, most);
}

function unsuited(objective: ObjectiveName): (model: Model) => string {
  const fitting = Object.entries(defaultObjectives).find(([, name]) => name === objective)?.[0] ?? '';
  return ({ family, kind }) =>
    `the objective ${objective} needs a model of kind "${fitting}"; a ${family} model is of kind "${kind}"`;
}
