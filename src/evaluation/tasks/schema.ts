/**
 * A task, as data: where its rows are, how a row becomes a prompt and its answers, and how answers are judged. Built-in tasks
 * and users' JSON or YAML files share the schema. Field names follow lm-evaluation-harness's task files; templates are Jinja,
 * with a row's columns as variables.
 */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { filledText, whole } from '../../files/schema-values.ts';
import { validated } from '../../files/schema-problems.ts';
import { filterSchema } from './filters/filter.ts';
import { exactMatchFields } from './metrics/exact-match.ts';
import { metrics, outputTypes } from './metrics/registry.ts';
import { preparations } from './preparations.ts';

/** Column types; a dot in a name leads into a nested one (`choices.text`). */
export const columnKinds = ['text', 'label', 'integer', 'float', 'texts'] as const;

/** A name from a table. */
function nameIn<Table extends object>(table: Table) {
  const isKnown = (name: unknown): boolean => typeof name === 'string' && Object.hasOwn(table, name);
  return z.custom<keyof Table>(isKnown, { error: `expected one of ${Object.keys(table).join(', ')}` });
}

const metricSchema = z.strictObject({ metric: nameIn(metrics), ...exactMatchFields });

const optionalText = z.string().optional();
const textList = z.array(z.string());

export const taskSchema = z
  .strictObject({
    task: z.string().regex(/^[A-Za-z0-9][\w.-]*$/, 'expected letters, digits, dots, dashes and underscores'),
    /** On the hub: owner/name. */
    dataset_path: filledText,
    /** On the hub: its configuration. */
    dataset_name: filledText.optional(),
    /** Folder in plain layouts, below the data folder. Default: the task's name. */
    folder: optionalText,
    output_type: z.enum(outputTypes),
    training_split: optionalText,
    validation_split: optionalText,
    test_split: optionalText,
    /** Where shots come from. Default: the first of training, validation and test split that exists. */
    fewshot_split: optionalText,
    /** Leading rows that are not evaluated: they are shots. */
    skip_rows: whole().default(0),
    /** Columns that a row must have, with their types. */
    columns: z.record(z.string(), z.enum(columnKinds)),
    /** Adds columns that templates alone cannot express. */
    process_docs: nameIn(preparations).optional(),
    /** Description and shots in a data file instead of the task. */
    prompt_file: z
      .strictObject({
        /** BIG-Bench Hard's: `cot-prompts/SUBSET.txt`, or `fewshot/VARIANT/SUBSET.jsonl` next to it. */
        reader: z.literal('bbh'),
        subset: z.string(),
        /** Whether answers are chains of thought or only their final answers. */
        answers: z.enum(['chain', 'final']),
      })
      .optional(),
    /** Precedes all shots, with the line breaks that follow it; a template. */
    description: z.string().default(''),
    doc_to_text: z.string(),
    /** For a multiple choice: templates, or the name of a column of texts. */
    doc_to_choice: z.union([textList.min(2), z.string()]).optional(),
    /** A template. For a multiple choice: the right choice's index, or its text. */
    doc_to_target: z.string(),
    target_delimiter: z.string().default(' '),
    fewshot_delimiter: z.string().default('\n\n'),
    /** Shots, if the user asks for none. An explicit 0 means never any. */
    num_fewshot: whole().optional(),
    fewshot_config: z
      .strictObject({
        /** `default` draws shots for each question, `first_n` takes the first. */
        sampler: z.enum(['default', 'first_n']).default('default'),
      })
      .default({ sampler: 'default' }),
    generation_kwargs: z
      .strictObject({
        until: textList.optional(),
        max_gen_toks: whole(1, 1 << 20).optional(),
        do_sample: z.literal(false).optional(),
        temperature: z.literal(0).optional(),
      })
      .optional(),
    filter_list: z.array(z.strictObject({ name: filledText, filter: z.array(filterSchema) })).optional(),
    metric_list: z.array(metricSchema).min(1),
    metadata: z.strictObject({ version: z.number() }).default({ version: 1 }),
  })
  .superRefine((task, context) => {
    if (task.output_type === 'multiple_choice' && task.doc_to_choice === undefined) {
      context.addIssue({ code: 'custom', path: ['doc_to_choice'], message: 'a multiple choice needs doc_to_choice' });
    }
    if (task.test_split === undefined && task.validation_split === undefined) {
      context.addIssue({
        code: 'custom',
        path: ['test_split'],
        message: 'a task needs a test_split or validation_split',
      });
    }
  });

export type Task = z.output<typeof taskSchema>;
export type TaskInput = z.input<typeof taskSchema>;

export function evaluatedSplit(task: Pick<Task, 'task' | 'test_split' | 'validation_split'>): string {
  const split = task.test_split ?? task.validation_split;
  if (split !== undefined) return split;
  throw new LinnetError('CONFIG', `task ${task.task} has neither test_split nor validation_split`);
}

export function shotSplit(task: Task): string {
  return task.fewshot_split ?? task.training_split ?? task.validation_split ?? evaluatedSplit(task);
}

/**
 * Checks a task.
 * @param origin for messages, usually a path
 * @throws LinnetError `CONFIG` naming every wrong field
 */
export function parseTask(value: unknown, origin: string): Task {
  return validated(taskSchema, value, 'CONFIG', `${origin} is not a task`);
}
