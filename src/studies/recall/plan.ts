/** The plan of a study of associative recall: which mixers learn it, in which model, in which lessons. A JSON file. */
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { mixerSchema } from '../../attention/mixers.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { float32, type Tensor, type WeightMap, type Weights } from '../../graph/tensor.ts';
import { naming, planSeeds, planVersion } from '../frame/study.ts';
import { filledText, positiveNumber, whole } from '../../files/schema-values.ts';

const count = whole(1);

/** Rows of one shape: T tokens with n pairs. */
const shape = { length: count.max(1 << 17), pairs: count };

/**
 * Where parameters start, by the ends of their names: slow ones would spend the lessons on their way. A number is
 * for all elements; an array whose length divides the elements is repeated, such as the K weights of every head's filter;
 * `scale` multiplies the random weights.
 */
const initial = z
  .record(filledText, z.union([z.number(), z.array(z.number()).min(1), z.strictObject({ scale: z.number() })]))
  .optional();

/** Where parameters start, by the ends of their names. */
type RecallInitialValues = NonNullable<z.infer<typeof initial>>;

const methodSchema = z.union([
  z.strictObject({ mixer: mixerSchema, initial }),
  /** A preset by name with its options next to it, which the preset checks. */
  z.looseObject({ preset: filledText, initial }),
]);

const shapesOfTests = [64, 256].map((length) => ({ length, pairs: 8, rows: 64 }));

export const recallPlan = z
  .strictObject({
    version: planVersion,
    task: z.literal('mqar').default('mqar'),
    title: filledText.max(200).default('Associative recall'),
    models: z.array(filledText).default([]).describe('model folders to measure as they are'),
    config: z
      .record(z.string(), z.json())
      .optional()
      .describe('config.json of the models to train; the task sets its vocabulary'),
    sizes: z
      .record(filledText.max(63), z.record(z.string(), z.json()))
      .optional()
      .describe('configuration fields by size name (default: one size)'),
    deviation: z
      .number()
      .positive()
      .max(10)
      .optional()
      .describe("standard deviation of random weights (default: the family's, which is small for narrow models)"),
    initial: initial.describe('initial values of parameters for every method, by the ends of their names'),
    first: methodSchema.optional().describe("the first layer's mixer for every method"),
    methods: z.record(filledText.max(63), methodSchema).default({}).describe('mixers by name'),
    seeds: planSeeds.default([0]).describe('seeds of weights and rows'),
    lessons: z
      .array(z.strictObject({ ...shape, steps: count, batch: count, learningRate: positiveNumber }))
      .default([])
      .describe('consecutive trainings, each with its own optimizer; without short rows first, recall is not learned'),
    tests: z
      .array(z.strictObject({ ...shape, rows: count }))
      .min(1)
      .default(shapesOfTests)
      .describe('rows to measure'),
  })
  .superRefine(({ models, config, methods, lessons }, context) => {
    const refuse = (message: string): void => context.addIssue({ code: 'custom', message });
    if (config === undefined && models.length === 0) refuse('give "config", "methods" and "lessons", or "models"');
    if (config !== undefined && Object.keys(methods).length === 0) refuse('"methods": name one');
    if (config !== undefined && lessons.length === 0) refuse('"lessons": give one');
  });

export type RecallPlan = z.infer<typeof recallPlan>;

/** The configurations of a plan by size, each with its size's fields; one without a name if there are no sizes. */
export function recallConfigs({ config, sizes }: RecallPlan): Map<string, NonNullable<RecallPlan['config']>> {
  if (config === undefined) return new Map();
  if (sizes === undefined) return new Map([['', config]]);
  return new Map(Object.entries(sizes).map(([size, fields]) => [size, { ...config, ...fields }]));
}

export interface RecallMethod {
  readonly mixer: MixerConfig;
  readonly first?: MixerConfig;
  /** Where parameters start, by name: the plan's values and the method's own. */
  readonly initial?: Readonly<RecallInitialValues>;
}

/** The methods of a plan by name. @throws LinnetError `CONFIG` for an unknown preset or option, naming the method */
export function recallMethods(plan: RecallPlan): Map<string, RecallMethod> {
  return new Map(
    Object.entries(plan.methods).map(([name, method]) => {
      const first = plan.first && mixerOf('first', plan.first);
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
  return naming(`method "${name}"`, () => mixerPreset(preset, options));
}

/** Parameters with the values of a plan. @throws LinnetError `CONFIG` for ends that no name has, or values of no such shape */
export function startingAt(parameters: Weights, initial: Readonly<RecallInitialValues> = {}): WeightMap {
  const started = new Map(parameters);
  for (const [end, values] of Object.entries(initial)) {
    const found = [...parameters].filter(([name]) => name.endsWith(`.${end}`));
    if (found.length === 0)
      throw new LinnetError('CONFIG', `"initial" has ${end}, but no parameter's name ends with it`);
    for (const [name, drawn] of found) started.set(name, startOf(name, drawn, values));
  }
  return started;
}

function startOf(
  name: string,
  { shape, data }: Tensor<'float32'>,
  values: RecallInitialValues[string],
): Tensor<'float32'> {
  if (typeof values === 'object' && 'scale' in values) {
    const scaled = data.map((value) => value * values.scale);
    return float32(shape, scaled);
  }
  const pattern = typeof values === 'number' ? [values] : values;
  if (data.length % pattern.length !== 0) {
    throw new LinnetError(
      'CONFIG',
      `"initial" has ${pattern.length} numbers for ${name} with ${data.length} elements; give a divisor`,
    );
  }
  const repeated = data.map((_, at) => pattern[at % pattern.length]);
  return float32(shape, repeated);
}
