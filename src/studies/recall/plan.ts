/** The plan of a study of associative recall: which mixers learn it, in which model, in which lessons. A JSON file. */
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { mixerSchema } from '../../attention/mixers.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { schemaProblems } from '../../files/schema-problems.ts';

const count = z.int().min(1);

/** Rows of one shape: T tokens with n pairs. */
const shape = { length: count.max(1 << 17), pairs: count };

const methodSchema = z.union([
  z.strictObject({ mixer: mixerSchema }),
  /** A preset by name with its options next to it, which the preset checks. */
  z.looseObject({ preset: z.string().min(1) }),
]);

const planSchema = z.strictObject({
  version: z.literal(1),
  task: z.literal('mqar'),
  title: z.string().min(1).max(200),
  /** config.json of the model; its vocabulary is that of the task. */
  config: z.record(z.string(), z.json()),
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
  const result = planSchema.safeParse(json);
  if (result.success) return result.data;
  throw new LinnetError('CONFIG', `${source} is no plan of a study of recall:\n${schemaProblems(result.error)}`, {
    cause: result.error,
  });
}

/** The mixers of a plan by name. @throws LinnetError `CONFIG` for an unknown preset or option, naming the method */
export function recallMethods(plan: RecallPlan): Map<string, MixerConfig> {
  return new Map(
    Object.entries(plan.methods).map(([name, method]) => {
      const parsed = z.strictObject({ mixer: mixerSchema }).safeParse(method);
      if (parsed.success) return [name, parsed.data.mixer];
      const { preset, ...options } = z.looseObject({ preset: z.string() }).parse(method);
      try {
        return [name, mixerPreset(preset, options)];
      } catch (error) {
        if (!(error instanceof LinnetError)) throw error;
        throw new LinnetError(error.code, `method "${name}": ${error.message}`, { cause: error });
      }
    }),
  );
}
