/** The plan of a study of classifiers: which models get which mixers, fine-tuned for which tasks, with which budget and seeds. */
import { z } from 'zod';
import { presetShapes } from '../../attention/presets.ts';
import { recipeNames } from '../../training/recipes.ts';
import { byName, measuredNumber, planName, planSeeds } from '../frame/study.ts';
import { hasOneStart, startFields } from '../frame/train-trial.ts';
import { glueTasks, measureNames } from './glue.ts';
import { whole } from '../../files/whole-numbers.ts';

const glueNames = glueTasks.map(({ name }) => name);

const ownTaskSchema = z.strictObject({
  name: planName,
  /** Files of rows: .jsonl, .csv, .tsv or .parquet. */
  train: z.array(z.string().min(1)).min(1),
  validation: z.array(z.string().min(1)).min(1),
  text: z.string().min(1).default('text'),
  pair: z.string().min(1).optional(),
  label: z.string().min(1).default('label'),
  /** Labels are numbers: regression. */
  numbers: z.boolean().default(false),
});

const taskSchema = z.union([z.enum(glueNames), ownTaskSchema], {
  error: `expected a task of GLUE (${glueNames.join(', ')}) or an object with "name", "train" and "validation"`,
});

const trainingSchema = z.looseObject({ recipe: z.enum(recipeNames).optional() });

const modelSchema = z
  .strictObject({
    ...startFields,
    /** The folder of the tokenizer of a `config`. */
    tokenizer: z.string().min(1).optional(),
    /** `head`: a classifier. `text`: a model that writes the label as T5 was trained to; encoder-decoder models only. */
    form: z.enum(['head', 'text']).default('head'),
    /** Differences from the plan's training settings, such as the recipe of its family. */
    training: trainingSchema.optional(),
  })
  .refine(...hasOneStart)
  .refine(({ config, tokenizer }) => config === undefined || tokenizer !== undefined, {
    message: 'a "config" needs a "tokenizer"',
  });

const methodSchema = z.strictObject({
  /** The mixer that replaces attention; `unchanged` leaves the model's own. */
  preset: z.string().min(1),
  ...presetShapes(),
});

export const classificationPlan = z
  .strictObject({
    version: z.literal(1),
    objective: z.literal('classify').default('classify'),
    /** The name of the objective in plans of earlier versions. */
    kind: z.literal('classification').optional(),
    title: z.string().min(1).max(200),
    /** Folder of GLUE in a layout that `eval tasks` reads; of no use where all tasks are the plan's own. */
    data: z.string().min(1).optional(),
    /** Tasks of GLUE by name, or tasks with files. */
    tasks: z.array(taskSchema).min(1),
    /** Most rows that are trained on and measured on; default all. */
    limit: z.strictObject({ train: whole(1).optional(), validation: whole(1).optional() }).default({}),
    models: byName(modelSchema),
    methods: byName(methodSchema),
    seeds: planSeeds,
    training: trainingSchema.default({}),
  })
  .superRefine(({ data, tasks }, context) => {
    const names = tasks.map((task) => (typeof task === 'string' ? task : task.name));
    const refuse = (message: string): void => context.addIssue({ code: 'custom', message });
    if (new Set(names).size !== names.length) refuse(`a task is listed twice; ${names.join(', ')}`);
    if (data === undefined && tasks.some((task) => typeof task === 'string')) {
      refuse('tasks of GLUE need "data", the folder that holds it');
    }
  });

export type ClassificationPlan = z.infer<typeof classificationPlan>;
export type OwnTask = z.infer<typeof ownTaskSchema>;

/** Names in the plan, and the seed. */
export type ClassificationPlace = Readonly<Record<'model' | 'task' | 'method', string> & { seed: number }>;

export const classificationMeasured = z.strictObject({
  /** The measures of the task, of the validation rows. */
  measures: z.partialRecord(z.enum(measureNames), measuredNumber),
  texts: z.int(),
  /** Mean training loss of the last tenth of the optimizer steps. */
  loss: measuredNumber,
  parameters: z.int(),
  seconds: measuredNumber,
});

export type ClassificationMeasured = z.output<typeof classificationMeasured>;
