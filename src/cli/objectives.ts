/** The objectives of `linnet finetune`: what is read from --data, what is learned of it, and what is saved. */
import { startClassifier } from '../checkpoint/load-classifier.ts';
import { loadCausalModel, type LoadedModel, loadModel, readModelConfig, saveModel } from '../checkpoint/load-model.ts';
import { LabelledDataset, labelsOf, readLabelledTexts } from '../data/labelled.ts';
import { MaskedDataset } from '../data/masked.ts';
import { readRecords } from '../data/records.ts';
import { type PairDataset, SpanCorruptionDataset, TextPairDataset } from '../data/sequence-pairs.ts';
import { sentinelIds } from '../data/span-corruption.ts';
import { LinnetError } from '../errors.ts';
import { isClassifierConfig } from '../models/classifier.ts';
import { describeModel, type Model } from '../models/families.ts';
import type { EncoderDecoderModel } from '../models/model.ts';
import { formatCount } from '../report/quantities.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { classificationObjective } from '../training/objectives/classification.ts';
import { maskedObjective } from '../training/objectives/masked.ts';
import { causalObjective } from '../training/objectives/next-token.ts';
import { sequenceObjective } from '../training/objectives/sequence-to-sequence.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { optional } from './framework/command.ts';
import { UsageError } from './framework/exit-codes.ts';
import { labelledFields, labelOptions } from './options/label-options.ts';
import type { LoraBase } from './options/lora-options.ts';
import { choice, text } from './framework/option-values.ts';
import type { TrainingValues } from './options/training-options.ts';
import type { TrainingPlan } from './training-run.ts';
import { loadPackedText, loadTrainingDocuments } from './training-text.ts';

const objectiveNames = ['causal', 'masked', 'seq2seq', 'classify'] as const;
export type ObjectiveName = (typeof objectiveNames)[number];

export const objectiveOptions = {
  objective: optional(choice(objectiveNames), {
    placeholder: 'name',
    description:
      'causal: the next token; masked: hidden tokens; seq2seq: a target text, or spans cut out of plain text; classify: ' +
      'labels of texts (default: by the kind of model, classify for a classifier)',
  }),
  ...labelOptions,
  sourceField: optional(text, {
    placeholder: 'name',
    description: 'of seq2seq: field or column of the text to read; without it, spans are cut out of plain text',
  }),
  targetField: optional(text, { placeholder: 'name', description: 'of seq2seq: field or column of the text to write' }),
};

export interface ObjectiveValues extends TrainingValues {
  readonly objective?: ObjectiveName;
  readonly textField: string;
  readonly pairField?: string;
  readonly labelField: string;
  readonly sourceField?: string;
  readonly targetField?: string;
}

/** A plan, and what low-rank adaptation needs to know of it. */
export interface PlannedObjective {
  readonly plan: TrainingPlan;
  readonly base: LoraBase;
}

type Prepare = (folder: string, values: ObjectiveValues, settings: TrainingSettings) => Promise<PlannedObjective>;

const preparations: Readonly<Record<ObjectiveName, Prepare>> = {
  causal: prepareCausal,
  masked: prepareMasked,
  seq2seq: prepareSequence,
  classify: prepareClassification,
};

/** What models of a kind learn where nothing else is asked for. */
const defaultObjectives: Readonly<Record<Model['kind'], ObjectiveName>> = {
  causal: 'causal',
  encoder: 'masked',
  'encoder-decoder': 'seq2seq',
};

/** Loads model and data for the objective that is asked for. @throws LinnetError `CONFIG` for a model it does not fit */
export async function prepareObjective(
  folder: string,
  values: ObjectiveValues,
  settings: TrainingSettings,
): Promise<PlannedObjective> {
  const config = await readModelConfig(folder);
  const usual = isClassifierConfig(config) ? 'classify' : defaultObjectives[describeModel(config).kind];
  return await preparations[values.objective ?? usual](folder, values, settings);
}

async function prepareCausal(
  folder: string,
  values: ObjectiveValues,
  settings: TrainingSettings,
): Promise<PlannedObjective> {
  const loaded = await loadCausalModel(folder);
  const { dataset, summary, configuration } = await loadPackedText(values, settings, await loadTokenizer(loaded.path));
  const objective = causalObjective(loaded.model, settings.length);
  return {
    plan: { ...modelPlan(loaded, values), dataset, summary, configuration, objective },
    base: { ...loaded, task: 'CAUSAL_LM' },
  };
}

async function prepareMasked(
  folder: string,
  values: ObjectiveValues,
  { length, seed }: TrainingSettings,
): Promise<PlannedObjective> {
  const { model, ...loaded } = await loadModel(folder);
  if (model.kind !== 'encoder') throw unsuited('masked', model);
  const { documents } = await loadTrainingDocuments(values);
  const dataset = new MaskedDataset(documents, await loadTokenizer(loaded.path), { length, seed });
  const summary = `${formatCount(documents.length)} documents in ${formatCount(dataset.rows)} rows`;
  const plan = { dataset, summary, configuration: { objective: 'masked', field: values.field } };
  return {
    plan: { ...modelPlan({ ...loaded, model }, values), ...plan, objective: maskedObjective(model, length) },
    base: { ...loaded, model, task: 'FEATURE_EXTRACTION' },
  };
}

async function prepareSequence(
  folder: string,
  values: ObjectiveValues,
  settings: TrainingSettings,
): Promise<PlannedObjective> {
  const { model, ...loaded } = await loadModel(folder);
  if (model.kind !== 'encoder-decoder') throw unsuited('seq2seq', model);
  const { field, sourceField, targetField } = values;
  const { dataset, summary } = await loadPairs(values, settings, model, await loadTokenizer(loaded.path));
  const configuration = {
    objective: 'seq2seq',
    ...(sourceField ? { sourceField, targetField: targetField ?? '' } : { field }),
  };
  const objective = sequenceObjective(model, dataset.lengths);
  return {
    plan: { ...modelPlan({ ...loaded, model }, values), dataset, summary, configuration, objective },
    base: { ...loaded, model, task: 'SEQ_2_SEQ_LM' },
  };
}

async function loadPairs(
  values: ObjectiveValues,
  { length, seed }: TrainingSettings,
  { startId, sizes }: EncoderDecoderModel,
  tokenizer: Tokenizer,
): Promise<{ dataset: PairDataset; summary: string }> {
  const { sourceField, targetField } = values;
  if ((sourceField === undefined) !== (targetField === undefined)) {
    throw new UsageError('--source-field and --target-field go together; give both, or none for plain text');
  }
  if (sourceField === undefined || targetField === undefined) {
    const { documents } = await loadTrainingDocuments(values);
    const sentinels = sentinelIds(tokenizer, sizes.vocabulary);
    const dataset = new SpanCorruptionDataset(documents, tokenizer, { length, startId, seed, sentinels });
    return { dataset, summary: `${formatCount(documents.length)} documents in ${formatCount(dataset.rows)} rows` };
  }
  const records = heldBack(await readRecords(values.data, [sourceField, targetField]), values);
  const pairs = records.map(({ fields }) => ({
    source: fields.get(sourceField) ?? '',
    target: fields.get(targetField) ?? '',
  }));
  const dataset = new TextPairDataset(pairs, tokenizer, { length, startId });
  return { dataset, summary: `${formatCount(pairs.length)} pairs of texts` };
}

async function prepareClassification(
  folder: string,
  values: ObjectiveValues,
  { length, seed }: TrainingSettings,
): Promise<PlannedObjective> {
  const all = await readLabelledTexts(values.data, labelledFields(values));
  const labels = labelsOf(all);
  const texts = heldBack(all, values);
  const { model, parameters, fingerprint, path } = await startClassifier(folder, labels, seed);
  const tokenizer = await loadTokenizer(path);
  const dataset = new LabelledDataset(texts, tokenizer, { layout: model.model.kind, labels, length });
  const { textField, pairField, labelField } = values;
  return {
    plan: {
      ...modelPlan({ model, parameters, fingerprint, path }, values),
      dataset,
      summary: `${formatCount(texts.length)} texts of ${formatCount(labels.length)} classes`,
      configuration: { objective: 'classify', textField, labelField, ...(pairField !== undefined && { pairField }) },
      objective: classificationObjective(model, dataset.length),
    },
    base: { model: model.model, path, fingerprint, task: 'SEQ_CLS', fresh: new Set(model.headParameters.keys()) },
  };
}

/** The part of a plan that follows from a loaded model: its parameters, and that it is saved as it was loaded. */
function modelPlan(
  {
    model,
    parameters,
    fingerprint,
    path: from,
  }: Omit<LoadedModel, 'model'> & { readonly model: Parameters<typeof saveModel>[1]['model'] },
  { dtype, replace }: Pick<TrainingValues, 'dtype' | 'replace'>,
): Pick<TrainingPlan, 'model' | 'parameters' | 'origin' | 'save'> {
  return {
    model,
    parameters,
    origin: fingerprint,
    async save(out, trained) {
      await saveModel(out, { model, parameters: trained }, { tokenizerFiles: { from }, dtype, replace });
      return {};
    },
  };
}

/** Leaves out the last ones, as --held-out says. @throws LinnetError `INPUT` if none are left */
function heldBack<T>(all: readonly T[], { heldOut }: Pick<TrainingValues, 'heldOut'>): readonly T[] {
  if (all.length <= heldOut) {
    throw new LinnetError('INPUT', `there are ${all.length} examples, and --held-out leaves none to train on`);
  }
  return all.slice(0, all.length - heldOut);
}

function unsuited(objective: ObjectiveName, { family, kind }: Model): LinnetError {
  const fitting = Object.entries(defaultObjectives).find(([, name]) => name === objective)?.[0] ?? '';
  return new LinnetError(
    'CONFIG',
    `--objective ${objective} is of models of kind "${fitting}"; a ${family} model is of kind "${kind}"`,
  );
}
