/** The plan of a sweep: which models get which mixers, on which text or labelled texts, with which budget and seeds. */
import { z } from 'zod';
import type { MixerConfig, Reading } from '../../attention/mixer.ts';
import { convolutionOf, describeMixer, mixerSchema, withConvolutionAdded } from '../../attention/mixers.ts';
import { allReadings, mixerPresetReading, presetShapes } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import type { AttentionPart } from '../../models/config-fields.ts';
import { exchangeByName } from '../../models/linearization/linearize.ts';
import { type Model, modelAttentions, partReadings } from '../../models/model.ts';
import { recipeNames } from '../../training/recipes.ts';
import { byName, measuredNumber, naming, planName, planSeeds } from '../frame/study.ts';
import { hasOneStart, startFields } from '../frame/train-trial.ts';
import { glueTasks, measureNames } from './glue.ts';
import { filledText, offByDefault, positiveNumber, whole } from '../../files/schema-values.ts';

const trainingSchema = z.looseObject({ recipe: z.enum(recipeNames).optional() });

/** The attention of a model from a folder is replaced and all of it trained further. */
const modelShape = {
  ...startFields,
  /** Differences from the plan's training settings, such as the recipe of its family. */
  training: trainingSchema.optional(),
};

const planShape = {
  version: z.literal(1),
  title: filledText.max(200),
  seeds: planSeeds,
};

const methodSchema = z
  .strictObject({
    /** A preset by name, with its options next to it. */
    preset: z.string().optional(),
    ...presetShapes(),
    /** Or a full configuration. */
    mixer: mixerSchema.optional(),
    /** Another mixer in the first layers, such as TransNormer's block-diagonal softmax. */
    first: z.strictObject({ layers: whole(1), mixer: mixerSchema }).optional(),
    /** Whether to run it also with the masked convolution. Default: if the mixer can have one and has none. */
    augmented: z.boolean().optional(),
  })
  .refine(({ preset, mixer }) => (preset === undefined) !== (mixer === undefined), {
    message: 'give either "preset" or "mixer"',
  });

type SweepMethod = z.infer<typeof methodSchema>;

const textPlan = z.strictObject({
  ...planShape,
  objective: z.undefined().optional(),
  data: z.array(filledText).min(1),
  field: z.string().default('text'),
  /** Number or share of the last documents, held out for measuring. */
  heldOut: positiveNumber,
  /** Maximum number of scored held-out windows. */
  windows: whole(1).default(64),
  tokenizer: filledText,
  models: byName(z.strictObject(modelShape).refine(...hasOneStart)),
  methods: byName(methodSchema),
  /** The budget, the same for all. */
  training: trainingSchema,
});

export type TextPlan = z.infer<typeof textPlan>;

const glueNames = glueTasks.map(({ name }) => name);

const ownTaskSchema = z.strictObject({
  name: planName,
  /** Files of rows: .jsonl, .csv, .tsv or .parquet. */
  train: z.array(filledText).min(1),
  validation: z.array(filledText).min(1),
  text: filledText.default('text'),
  pair: filledText.optional(),
  label: filledText.default('label'),
  /** Labels are numbers: regression. */
  numbers: offByDefault,
});

export type OwnTask = z.infer<typeof ownTaskSchema>;

const taskSchema = z.union([z.enum(glueNames), ownTaskSchema], {
  error: `expected a task of GLUE (${glueNames.join(', ')}) or an object with "name", "train" and "validation"`,
});

const classifierSchema = z
  .strictObject({
    ...modelShape,
    /** The folder of the tokenizer of a `config`. */
    tokenizer: filledText.optional(),
    /** `head`: a classifier. `text`: a model that writes the label as T5 was trained to; encoder-decoder models only. */
    form: z.enum(['head', 'text']).default('head'),
  })
  .refine(...hasOneStart)
  .refine(({ config, tokenizer }) => config === undefined || tokenizer !== undefined, {
    message: 'a "config" needs a "tokenizer"',
  });

const classificationPlan = z
  .strictObject({
    ...planShape,
    objective: z.literal('classify'),
    /** Folder of GLUE in a layout that `eval tasks` reads; unused if all tasks are the plan's own. */
    data: filledText.optional(),
    /** Tasks of GLUE by name, or tasks with files. */
    tasks: z.array(taskSchema).min(1),
    /** Maximum rows for training and for measuring; default all. */
    limit: z.strictObject({ train: whole(1).optional(), validation: whole(1).optional() }).default({}),
    models: byName(classifierSchema),
    /** The mixer that replaces attention; `unchanged` leaves the model's own. */
    methods: byName(z.strictObject({ preset: filledText, ...presetShapes() })),
    training: trainingSchema.default({}),
  })
  .superRefine(({ data, tasks }, context) => {
    const names = tasks.map((task) => (typeof task === 'string' ? task : task.name));
    const refuse = (message: string): void => context.addIssue({ code: 'custom', message });
    if (new Set(names).size !== names.length) refuse(`a task is listed twice; ${names.join(', ')}`);
    if (data === undefined && tasks.some((task) => typeof task === 'string')) {
      refuse('GLUE tasks need "data", the folder that holds GLUE');
    }
  });

export type ClassificationPlan = z.infer<typeof classificationPlan>;

export const sweepPlan = z.discriminatedUnion('objective', [textPlan, classificationPlan]);
export type SweepPlan = TextPlan | ClassificationPlan;

/** Names in the plan, whether the convolution was added, and the seed. */
export type SweepPlace = Readonly<{
  model: string;
  /** For classifiers. */
  task?: string;
  method: string;
  /** For text models, which also run plain. */
  augmented?: boolean;
  seed: number;
}>;

export const sweepMeasured = z.strictObject({
  /** exp of the mean −log p over the held-out text's tokens, masked tokens or cut-out tokens. */
  perplexity: measuredNumber.optional(),
  /** A task's measures on its validation rows. */
  measures: z.partialRecord(z.enum(measureNames), measuredNumber).optional(),
  texts: z.int().optional(),
  /** Mean training loss of the last tenth of the optimizer steps. */
  loss: measuredNumber,
  parameters: z.int(),
  tokensPerSecond: measuredNumber,
  seconds: measuredNumber,
  /** The mixer of the last layer in words. */
  description: z.string(),
  /** Training loss; absent in results of earlier versions. */
  curve: z
    .array(z.strictObject({ update: z.int(), loss: z.number() }))
    .readonly()
    .optional(),
});

export type SweepMeasured = z.output<typeof sweepMeasured>;
export type SweepResult = SweepPlace & SweepMeasured;

/** A method of a plan. */
interface SweepVariant extends Pick<SweepPlace, 'method' | 'augmented'> {
  /** A model with its mixers. @throws LinnetError `CONFIG` for mixers that the model cannot have, naming the method */
  readonly changed: (model: Model) => Model;
}

/**
 * A plan's methods; for text, each plain and, if possible, augmented with the masked convolution (paper, section 4.2).
 * @throws LinnetError `CONFIG` for an unknown preset or impossible options, naming the method
 */
export function sweepVariants(plan: SweepPlan): SweepVariant[] {
  const named = <T>(method: string, work: () => T): T => naming(`method "${method}"`, work);
  if (plan.objective === undefined) {
    return Object.entries(plan.methods).flatMap(([method, choice]) => {
      const variants = named(method, () => augmentedVariants(choice));
      return variants.map(({ augmented, mixers }) => ({
        method,
        augmented,
        changed: (model: Model) => named(method, () => model.withMixers(mixersOf(model, mixers))),
      }));
    });
  }
  return Object.entries(plan.methods).map(([method, { preset, ...options }]) => ({
    method,
    changed: (model) => (preset === 'unchanged' ? model : named(method, () => exchangeByName(model, preset, options))),
  }));
}

/** The mixers of `layers` layers that read the past, or a whole text as encoders do. */
type LayerMixers = (layers: number, reads: Reading) => MixerConfig[];

function augmentedVariants(choice: SweepMethod): { augmented: boolean; mixers: LayerMixers }[] {
  const plain = (reads: Reading): MixerConfig => choice.mixer ?? presetOf(choice, reads);
  const augment = (mixer: MixerConfig): MixerConfig => withConvolution(mixer, choice.kernel);
  const few = choice.first?.layers ?? 0;
  const variant = (augmented: boolean, mixerOf: typeof plain, first = choice.first?.mixer) => ({
    augmented,
    mixers(layers: number, reads: Reading) {
      const mixer = mixerOf(reads);
      return Array.from({ length: layers }, (_, layer) => (layer < few ? (first ?? mixer) : mixer));
    },
  });
  const past = plain('past');
  if (!(choice.augmented ?? canGain(past))) return [variant(false, plain)];
  augment(past);
  const first = choice.first?.mixer;
  const firstAugmented = first !== undefined && canGain(first) ? augment(first) : first;
  return [variant(false, plain), variant(true, (reads) => augment(plain(reads)), firstAugmented)];
}

/** The mixers of a model's attentions. Cross-attention stays as it is. */
function mixersOf(model: Model, mixers: LayerMixers): MixerConfig[] {
  const attentions = modelAttentions(model);
  const ofPart = (part: AttentionPart): MixerConfig[] => {
    const group = attentions.filter((attention) => attention.part === part);
    return group.length === 0 ? [] : mixers(group.length, partReadings[part]);
  };
  const changed = { encoder: ofPart('encoder'), decoder: ofPart('decoder') };
  return attentions.map(({ part, layer }, index) => (part === 'cross' ? model.mixers[index] : changed[part][layer]));
}

function presetOf({ preset = '', ...rest }: SweepMethod, reads: Reading): MixerConfig {
  const { mixer: _, first: __, augmented: ___, ...options } = rest;
  return mixerPresetReading(reads, preset, options, allReadings); // a plan may have models of both kinds
}

/** Whether a mixer can have the convolution and does not. */
function canGain(mixer: MixerConfig): boolean {
  return convolutionOf(mixer) === null && withConvolutionAdded(mixer) !== undefined;
}

function withConvolution(mixer: MixerConfig, kernel: number | undefined): MixerConfig {
  const added = withConvolutionAdded(mixer, kernel);
  if (added !== undefined) return added;
  throw new LinnetError('CONFIG', `'${describeMixer(mixer)}' has no convolution; set "augmented" to false`);
}
