/** The plan of a study of associative recall: which mixers learn it, in which model, in which lessons. A JSON file. */
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { mixerSchema } from '../../attention/mixers.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { validated } from '../../files/schema-problems.ts';

const count = z.int().min(1);

/** Rows of one shape: T tokens with n pairs. */
const shape = { length: count.max(1 << 17), pairs: count };

/**
 * Where parameters start, by the ends of their names: those that move slowly would spend the lessons on their way. A number is
 * for all elements; so many numbers as divide the elements are repeated, such as the K weights of every head's filter;
 * `scale` multiplies the random weights.
 */
const initial = z
  .record(z.string().min(1), z.union([z.number(), z.array(z.number()).min(1), z.strictObject({ scale: z.number() })]))
  .optional();

/** Where parameters start, by the ends of their names. */
export type InitialValues = NonNullable<z.infer<typeof initial>>;

const methodSchema = z.union([
  z.strictObject({ mixer: mixerSchema, initial }),
  /** A preset by name with its options next to it, which the preset checks. */
  z.looseObject({ preset: z.string().min(1), initial }),
]);

const planSchema = z.strictObject({
  version: z.literal(1),
  task: z.literal('mqar'),
  title: z.string().min(1).max(200),
  /** config.json of the model; its vocabulary is that of the task. */
  config: z.record(z.string(), z.json()),
  /** Fields of the configuration by the name of a size: a model of every size is trained. Default: one size. */
  sizes: z.record(z.string().min(1).max(63), z.record(z.string(), z.json())).optional(),
  /** Standard deviation of random weights. Default: that of the family, which is small for narrow models. */
  deviation: z.number().positive().max(10).optional(),
  /** Of every method. */
  initial,
  /** The mixer of the first layer, whatever the method: a short convolution, say, that shows every position its neighbour. */
  first: methodSchema.optional(),
  methods: z.record(z.string().min(1).max(63), methodSchema).refine((all) => Object.keys(all).length > 0, 'name one'),
  seeds: z.array(z.int().min(0)).min(1),
  /** One after the other, each with an optimizer of its own: short rows first let recall be learned at all. */
  lessons: z
    .array(z.strictObject({ ...shape, steps: count, batch: count, learningRate: z.number().positive() }))
    .min(1),
  tests: z.array(z.strictObject({ ...shape, rows: count })).min(1),
});

export type RecallPlan = z.infer<typeof planSchema>;

/**
 * Checks a plan.
 * @throws LinnetError `CONFIG` naming every field that is wrong
 */
export function parseRecallPlan(json: unknown, source: string): RecallPlan {
  return validated(planSchema, json, 'CONFIG', `${source} is not a plan of a study of recall`);
}

/** The configurations of a plan by size, each with the fields of that size; one without a name where there are none. */
export function recallConfigs({ config, sizes }: RecallPlan): Map<string, RecallPlan['config']> {
  if (sizes === undefined) return new Map([['', config]]);
  return new Map(Object.entries(sizes).map(([size, fields]) => [size, { ...config, ...fields }]));
}

/** A method of a plan. */
export interface RecallMethod {
  readonly mixer: MixerConfig;
  /** Of the first layer, where the plan says one. */
  readonly first?: MixerConfig;
  /** Where parameters start, by name: those of the plan and the method's own. */
  readonly initial?: Readonly<InitialValues>;
}

/** The methods of a plan by name. @throws LinnetError `CONFIG` for an unknown preset or option, naming the method */
export function recallMethods(plan: RecallPlan): Map<string, RecallMethod> {
  return new Map(
    Object.entries(plan.methods).map(([name, method]) => {
      const first = plan.first === undefined ? undefined : mixerOf('first', plan.first);
      const initial = { ...plan.initial, ...plan.first?.initial, ...method.initial };
      return [
        name,
        { mixer: mixerOf(name, method), first, initial: Object.keys(initial).length === 0 ? undefined : initial },
      ];
    }),
  );
}

function mixerOf(name: string, { initial: _, ...method }: RecallPlan['methods'][string]): MixerConfig {
  const parsed = z.strictObject({ mixer: mixerSchema }).safeParse(method);
  if (parsed.success) return parsed.data.mixer;
  const { preset, ...options } = z.looseObject({ preset: z.string() }).parse(method);
  try {
    return mixerPreset(preset, options);
  } catch (error) {
    if (!(error instanceof LinnetError)) throw error;
    throw new LinnetError(error.code, `method "${name}": ${error.message}`, { cause: error });
  }
}
