/** The options that every training plan has, as zod schemas: the command line takes its own from them. */
import { z } from 'zod';
import { LinnetError, OptionsError } from '../../errors.ts';
import { whole } from '../../files/whole-numbers.ts';
import { validated } from '../../files/schema-problems.ts';
import { adamWDefaults } from '../adamw.ts';

// Settings of the paper's runs by name. P: the paper (arXiv 2406.07368) says so; C: its code does, where the paper is
// silent. Where both speak and differ, the paper counts. β₁ and β₂ are 0.9 and 0.95 (P; the code leaves 0.999) and need no
// entry: they are our defaults, as is the clip of 1 where no run says otherwise.

/** All recipes, in the order of help. */
export const recipeNames = ['gpt2-glue', 't5-glue', 'bert-glue', 'llama-lora', 'flash-wiki40b'] as const;
/** The name of one of the paper's recipes. */
export type RecipeName = (typeof recipeNames)[number];

/** Settings of a recipe. Weight decay never applies to norms, biases, α and filter weights (the code leaves out biases alone). */
export interface Recipe {
  /** Completes "settings of". */
  readonly of: string;
  readonly settings: Omit<TrainingInput, 'seed' | 'microBatch'>;
  /** For `parseLoraChoice`, and the groups that are trained whole. */
  readonly lora?: { readonly choice: string; readonly whole: readonly ('norms' | 'embeddings' | 'mixers')[] };
}

/** P: batch 32, 3 epochs, length 256. C: rate 2e-5 falling linearly without warm-up, no weight decay. */
const glue = {
  learningRate: 2e-5,
  schedule: 'linear',
  warmup: 0,
  batch: 32,
  epochs: 3,
  length: 256,
  weightDecay: 0,
} as const;

const recipes: Readonly<Record<RecipeName, Recipe>> = {
  'gpt2-glue': { of: 'GPT-2 on GLUE', settings: glue },
  // C has batch 16; P 32. The convolution's K = 9 is a matter of the mixer.
  't5-glue': { of: 'T5 on GLUE', settings: glue },
  // P compares BERT under the settings of the others and names none of its own.
  'bert-glue': { of: 'BERT on GLUE', settings: glue },
  'llama-lora': {
    of: 'LLaMA-2 by low-rank adaptation',
    // P: 1,000 optimizer steps of 64 sequences, 2e-5 constant after 20 of warm-up. C: length 4096, no weight decay.
    settings: {
      learningRate: 2e-5,
      schedule: 'constant',
      warmup: 20,
      batch: 64,
      steps: 1000,
      length: 4096,
      weightDecay: 0,
    },
    // C: r = 8, α = 16 on q, k, v, o; embeddings, norms, α and filter weights whole.
    lora: { choice: 'r=8,alpha=16,targets=q,k,v,o', whole: ['norms', 'embeddings', 'mixers'] },
  },
  'flash-wiki40b': {
    of: 'FLASH on Wiki40B, from random weights',
    // P: 7e-4 falling linearly, 256 sequences of 1,024. C: 10,000 optimizer steps of warm-up, 15 epochs, decay 0.01, clip 0.1.
    settings: {
      learningRate: 7e-4,
      schedule: 'linear',
      warmup: 10_000,
      batch: 256,
      epochs: 15,
      length: 1024,
      weightDecay: 0.01,
      clip: 0.1,
    },
  },
};

/** The recipe of a name. */
export function recipe(name: RecipeName): Recipe {
  return recipes[name];
}

/** The settings of a recipe, overridden by the given ones; optimizer steps replace epochs and vice versa. */
export function withRecipe(name: RecipeName | undefined, given: TrainingInput): TrainingInput {
  if (name === undefined) return given;
  const { steps, epochs, ...settings } = recipe(name).settings;
  const extent = given.steps === undefined && given.epochs === undefined ? { steps, epochs } : {};
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...settings, ...extent, ...said };
}

// The settings of a training run, checked, with the paper's defaults; learning rates over its optimizer steps.

export const scheduleNames = ['constant', 'linear', 'cosine'] as const;
/** The shape of the learning rate after the warm-up. */
export type ScheduleName = (typeof scheduleNames)[number];

/** A field with its texts for a command line or form: a word for its value, and a sentence without an end. */
export const described = <Schema extends z.ZodType>(
  schema: Schema,
  placeholder: string,
  description: string,
  value?: string | number,
): Schema =>
  schema.meta({
    placeholder,
    description: value === undefined ? description : `${description} (default: ${value})`,
  });

const share = z.number().min(0).max(0.999999);

const defaults = {
  learningRate: 2e-5,
  schedule: 'linear',
  warmup: 0,
  batch: 32,
  length: 512,
  epochs: 3,
  ...adamWDefaults,
  clip: 1,
  labelSmoothing: 0,
  seed: 0,
};

/** Every setting with its bounds and its description, none with a default: a form of them shows which were left out. */
const settingFields = {
  steps: described(whole(1), 'count', 'optimizer steps in all', 'from `epochs`'),
  epochs: described(whole(1), 'count', 'passes over the data', defaults.epochs),
  learningRate: described(z.number().min(1e-12).max(10), 'rate', 'peak learning rate', '2e-5'),
  schedule: described(
    z.enum(scheduleNames),
    'name',
    `after the warm-up: ${scheduleNames.join(', ')}`,
    defaults.schedule,
  ),
  warmup: described(whole(), 'steps', 'optimizer steps of linear warm-up', defaults.warmup),
  warmupShare: described(
    z.number().min(0).max(1),
    'share',
    'linear warm-up as a share of all optimizer steps, in place of `warmup`',
  ),
  batch: described(whole(1, 65536), 'rows', 'sequences per optimizer step', defaults.batch),
  microBatch: described(
    whole(1, 65536),
    'rows',
    'sequences per run of the engine, a divisor of `batch`',
    'about 4096 tokens',
  ),
  length: described(whole(1, 1048576), 'tokens', 'tokens per sequence', defaults.length),
  weightDecay: described(z.number().min(0).max(1), 'rate', 'decoupled weight decay of matrices', defaults.weightDecay),
  beta1: described(share, 'share', 'decay of the first moment', defaults.beta1),
  beta2: described(share, 'share', 'decay of the second moment', defaults.beta2),
  clip: described(z.number().min(0), 'norm', 'largest norm of all gradients together, 0 for none', defaults.clip),
  labelSmoothing: described(
    z.number().min(0).max(0.999),
    'share',
    'share of each label that is spread evenly over all classes or tokens',
    defaults.labelSmoothing,
  ),
  seed: described(z.int(), 'number', 'of the shuffle, and of fresh weights', defaults.seed),
};

/** Settings of a run, complete. */
export const trainingSchema = z
  .strictObject({
    ...settingFields,
    ...z.object(settingFields).pick({ steps: true, warmupShare: true, microBatch: true }).partial().shape,
    /** Added to the root of the second moment. */
    epsilon: z.number().positive(),
  })
  .refine(({ batch, microBatch }) => microBatch === undefined || batch % microBatch === 0, {
    message: 'microBatch must divide batch',
    path: ['microBatch'],
  });

/** Settings with all defaults filled in. */
export type TrainingSettings = z.infer<typeof trainingSchema>;
/** Settings as they are given: defaults stand in for those that are left out. */
export type TrainingInput = Partial<TrainingSettings>;

/** Checks settings and fills in the defaults. @throws LinnetError `CONFIG` naming every field that is wrong */
export function parseTrainingSettings(input: TrainingInput): TrainingSettings {
  const entries = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
  return validated(trainingSchema, { ...defaults, ...entries }, 'CONFIG', 'invalid training settings');
}

/** Optimizer steps of warm-up in a run of `total`: `warmupShare` of them, rounded, or `warmup`. */
export function warmupSteps(
  { warmup, warmupShare }: Pick<TrainingSettings, 'warmup' | 'warmupShare'>,
  total: number,
): number {
  return warmupShare === undefined ? warmup : Math.round(warmupShare * total);
}

/** Tokens that one run of the graph works on. Speed is the same from one to eight thousand tokens on CPU, memory is not. */
const microBatchTokens = 4096;

/** Rows of a micro-batch: given, or the largest divisor of the batch that stays within `microBatchTokens`. */
export function microBatchRows({ batch, microBatch, length }: TrainingSettings): number {
  if (microBatch !== undefined) return microBatch;
  for (let rows = batch; rows > 1; rows--) if (batch % rows === 0 && rows * length <= microBatchTokens) return rows;
  return 1;
}

/** A learning rate over the optimizer steps of a run. */
export interface ScheduleConfig {
  /** Its shape after the warm-up. */
  readonly name: ScheduleName;
  /** The learning rate after warm-up. */
  readonly peak: number;
  /** Optimizer steps over which the rate rises linearly from 0; optimizer step 0 then has rate 0. */
  readonly warmup: number;
  /** Optimizer steps in all: where `linear` and `cosine` reach 0. */
  readonly total: number;
}

/** Share of the peak, from the progress between the end of the warm-up (0) and the end of the run (1). */
const decays: Readonly<Record<ScheduleName, (progress: number) => number>> = {
  constant: () => 1,
  linear: (progress) => 1 - progress,
  cosine: (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)),
};

/**
 * The learning rate of an optimizer step.
 *
 * @param update counted from 0
 * @throws LinnetError `CONFIG` if the warm-up is longer than the run
 */
export function learningRate(config: ScheduleConfig, update: number): number {
  const { peak, warmup, total } = config;
  if (warmup > total) {
    throw new LinnetError(
      'CONFIG',
      `a warm-up of ${warmup} optimizer steps does not fit a run of ${total}; shorten the warm-up`,
    );
  }
  if (update < warmup) return (peak * update) / warmup;
  const progress = total > warmup ? Math.min(1, (update - warmup) / (total - warmup)) : 1;
  return peak * decays[config.name](progress);
}

/** The most memory that a run may take, as words: "8GiB". */
const memorySize = described(
  z
    .string()
    .regex(/^\d{1,6}(\.\d{1,6})?(MiB|GiB)$/i, 'expected a size such as 8GiB or 900MiB')
    .optional(),
  'size',
  'the most memory to take, such as 8GiB: larger steps are made in parts, or refused before they start (default: three ' +
    'quarters of the memory that is available)',
);

/** Bytes of a size as `memorySize` has it; without one, three quarters of the memory that is available now. */
export function memoryLimit(size: string | undefined): number {
  if (size === undefined) return Math.floor(0.75 * process.availableMemory());
  return Number.parseFloat(size) * (size.toLowerCase().endsWith('gib') ? 2 ** 30 : 2 ** 20);
}

export const runShape = {
  data: described(
    z.array(z.string().min(1)).min(1).readonly(),
    'sources',
    '.txt and .jsonl files, or npm:PACKAGE; tables of examples as .jsonl, .csv or .tsv',
  ),
  field: described(z.string().min(1).default('text'), 'name', 'field of a .jsonl line that holds the text'),
  heldOut: described(whole().default(0), 'count', 'leave out the last documents, to evaluate on'),
  packing: described(
    z.enum(['stream', 'document']).default('stream'),
    'name',
    'stream: documents one after the other; document: one per sequence, cut or padded',
  ),
  out: described(z.string().min(1), 'folder', 'where the trained model goes'),
  replace: z.boolean().default(false).meta({ description: 'replace the folder if it exists' }),
  dtype: described(
    z.enum(['F32', 'F16', 'BF16']).default('F32'),
    'type',
    'element type of the saved weights: F32, F16 or BF16',
  ),
  run: described(z.string().min(1).optional(), 'folder', 'run folder: record, metrics, snapshots (default: OUT.run)'),
  snapshotEvery: described(whole(1).default(100), 'steps', 'optimizer steps from one snapshot to the next'),
  memory: memorySize,
  resume: z.boolean().default(false).meta({
    description:
      'continue the run in the run folder from its newest snapshot; give the same options as before, or more `steps`',
  }),
  evaluateEvery: described(
    whole(1).optional(),
    'steps',
    'measure the loss on the held-out documents every so many optimizer steps, and after the last one',
  ),
  patience: described(
    whole(1).optional(),
    'count',
    'stop after this many measurements without a new lowest held-out loss',
  ),
  keep: described(
    z.enum(['best', 'last']).default('best'),
    'name',
    'what is saved with `evaluateEvery`: best, the parameters of the lowest held-out loss, or last',
  ),
};

/** How much is learned, and how fast; all may be left out. */
export const settingsShape = {
  recipe: described(
    z.enum(recipeNames).optional(),
    'name',
    `settings of a run of the paper, in place of the defaults below: ${recipeNames.join(', ')}`,
  ),
  ...z.object(settingFields).partial().shape,
};

/** Of plans that train causal models. */
export const recomputeShape = {
  recompute: z
    .boolean()
    .default(false)
    .meta({
      description:
        'compute the results of each layer anew for its gradient, instead of keeping those of all layers: less memory for long rows, ' +
        'about a quarter more time',
    }),
};

const engineShape = {
  device: described(z.enum(['cpu', 'cuda', 'webgpu']).default('cpu'), 'name', 'cpu, cuda or webgpu'),
  threads: described(whole(1, 1024).optional(), 'count', 'threads of the engine (default: one per core)'),
};

export const trainingShape = { ...runShape, ...settingsShape, ...engineShape };

export type TrainingOptions = z.output<z.ZodObject<typeof trainingShape>>;

/** Checks options. @throws OptionsError naming every option that is wrong */
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
    throw new OptionsError('`steps` and `epochs` exclude each other; give one of them');
  }
  if (warmup !== undefined && warmupShare !== undefined) {
    throw new OptionsError('`warmup` and `warmupShare` exclude each other; give one of them');
  }
  if (batch !== undefined && microBatch !== undefined && batch % microBatch !== 0) {
    throw new OptionsError(`\`microBatch\` is ${microBatch}; expected a divisor of \`batch\`, ${batch}`);
  }
  return parseTrainingSettings(withRecipe(recipe, z.object(settingFields).partial().parse(options)));
}

/** For plans whose loss is not a cross-entropy of labels. @throws OptionsError if labels are to be smoothed */
export function refuseLabelSmoothing({ labelSmoothing }: Pick<TrainingSettings, 'labelSmoothing'>): void {
  if (labelSmoothing > 0) throw new OptionsError('`labelSmoothing` is of training on labels, tokens and target texts');
}
