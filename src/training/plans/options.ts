/** Options of every training plan, as zod schemas; the command line derives its options from them. */
import { z } from 'zod';
import { OptionsError } from '../../errors.ts';
import { filledText, offByDefault, whole } from '../../files/schema-values.ts';
import { recipeNames, withRecipe } from '../recipes.ts';
import { described, settingFields, type TrainingSettings, parseTrainingSettings } from '../settings.ts';

/** The most memory that a run may take, as words: "8GiB". */
const memorySize = described(
  z
    .string()
    .regex(/^\d{1,6}(\.\d{1,6})?(MiB|GiB)$/i, 'expected a size such as 8GiB or 900MiB')
    .optional(),
  'size',
  'memory limit, such as 8GiB: larger steps are split, or refused before they start (default: three ' +
    'quarters of the available memory)',
);

/** Bytes of a `memorySize`; without one, three quarters of the memory available now. */
export function memoryLimit(size: string | undefined): number {
  if (size === undefined) return Math.floor(0.75 * process.availableMemory());
  return Number.parseFloat(size) * (size.toLowerCase().endsWith('gib') ? 2 ** 30 : 2 ** 20);
}

export const runShape = {
  data: described(
    z.array(filledText).min(1).readonly(),
    'sources',
    '.txt and .jsonl files, npm:PACKAGE, or - for standard input; finetune: also tables of examples, as .jsonl, .csv or .tsv',
  ),
  field: described(filledText.default('text'), 'name', 'field of .jsonl lines that holds the text'),
  heldOut: described(whole().default(0), 'count', 'hold out this many last documents for evaluation'),
  packing: described(
    z.enum(['stream', 'document']).default('stream'),
    'name',
    'stream: join documents one after the other; document: one per sequence, cut or padded',
  ),
  out: described(filledText, 'folder', 'output folder of the trained model'),
  replace: offByDefault.meta({ description: 'replace the folder if it exists' }),
  dtype: described(
    z.enum(['F32', 'F16', 'BF16']).default('F32'),
    'type',
    'element type of the saved weights: F32, F16 or BF16',
  ),
  run: described(filledText.optional(), 'folder', 'run folder: record, metrics, snapshots (default: OUT.run)'),
  snapshotEvery: described(whole(1).default(100), 'steps', 'optimizer steps between snapshots'),
  memory: memorySize,
  resume: offByDefault.meta({
    description:
      'continue from the newest snapshot in the run folder; give the same options as before, or more `steps`',
  }),
  evaluateEvery: described(
    whole(1).optional(),
    'steps',
    'measure the held-out loss every this many optimizer steps, and after the last one',
  ),
  patience: described(whole(1).optional(), 'count', 'stop after this many measurements without a lower held-out loss'),
  keep: described(
    z.enum(['best', 'last']).default('best'),
    'name',
    'parameters to save with `evaluateEvery`: best (lowest held-out loss) or last',
  ),
};

/** How much is learned, and how fast; all may be left out. */
export const settingsShape = {
  recipe: described(
    z.enum(recipeNames).optional(),
    'name',
    `use the paper's settings instead of the defaults below: ${recipeNames.join(', ')}`,
  ),
  ...z.object(settingFields).partial().shape,
};

/** For plans that train causal models. */
export const recomputeShape = {
  recompute: offByDefault.meta({
    description:
      "recompute each layer's results for its gradient instead of keeping all layers': less memory for long rows, " +
      'about a quarter more time',
  }),
};

const engineShape = {
  device: described(z.enum(['cpu', 'cuda', 'webgpu']).default('cpu'), 'name', 'cpu, cuda or webgpu'),
  threads: described(whole(1, 1024).optional(), 'count', 'engine threads (default: one per core)'),
};

export const trainingShape = { ...runShape, ...settingsShape, ...engineShape };

export type TrainingOptions = z.output<z.ZodObject<typeof trainingShape>>;

/** Checks options. @throws OptionsError naming every wrong option */
export function parseOptions<Schema extends z.ZodType>(schema: Schema, input: z.input<Schema>): z.output<Schema> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const complaints = result.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `\`${path.join('.')}\`: ${message}`,
  );
  throw new OptionsError(complaints.join('\n'), { cause: result.error });
}

/** The settings from the options, with a recipe's values filled in. @throws OptionsError for options that exclude each other */
export function settingsOf(options: Pick<TrainingOptions, keyof typeof settingsShape>): TrainingSettings {
  const { recipe, steps, epochs, warmup, warmupShare, batch, microBatch } = options;
  if (steps !== undefined && epochs !== undefined) {
    throw new OptionsError('`steps` and `epochs` exclude each other; give only one');
  }
  if (warmup !== undefined && warmupShare !== undefined) {
    throw new OptionsError('`warmup` and `warmupShare` exclude each other; give only one');
  }
  if (batch !== undefined && microBatch !== undefined && batch % microBatch !== 0) {
    throw new OptionsError(`\`microBatch\` is ${microBatch}; expected a divisor of \`batch\`, ${batch}`);
  }
  return parseTrainingSettings(withRecipe(recipe, z.object(settingFields).partial().parse(options)));
}

/** For plans whose loss is not a cross-entropy of labels. @throws OptionsError if labels are to be smoothed */
export function refuseLabelSmoothing({ labelSmoothing }: Pick<TrainingSettings, 'labelSmoothing'>): void {
  if (labelSmoothing > 0)
    throw new OptionsError('`labelSmoothing` does not go with this objective; expected labels, tokens or target texts');
}
