/** Bases and scalings of rotary angles, as config.json gives them. */
import { z } from 'zod';
import { positiveNumber } from '../../../files/schema-values.ts';
import type { RotaryConfig, RotaryScaling } from '../../../nn/positions.ts';
import { configError, size } from '../../config-fields.ts';

/** Rotary frequencies for queries and keys. */
export type Rope = Pick<RotaryConfig, 'base' | 'scaling'> & Partial<Pick<RotaryConfig, 'width'>>;

/** Read loosely here and then checked by its type's fields, so that an unknown type is refused by name. */
export const scalingSchema = z.looseObject({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  factor: positiveNumber.optional(),
  low_freq_factor: positiveNumber.optional(),
  high_freq_factor: positiveNumber.optional(),
  original_max_position_embeddings: size.optional(),
  partial_rotary_factor: positiveNumber.max(1).optional(),
  rope_theta: positiveNumber.optional(),
  attention_factor: positiveNumber.optional(),
  beta_fast: positiveNumber.optional(),
  beta_slow: positiveNumber.optional(),
  short_factor: z.array(positiveNumber).optional(),
  long_factor: z.array(positiveNumber).optional(),
});

type ScalingJson = z.infer<typeof scalingSchema>;

export const ropeFields = {
  rope_theta: positiveNumber.default(10000),
  rope_scaling: scalingSchema.nullish(),
  // Since version 5, transformers writes base and scaling together; if it finds both forms, the older one counts.
  rope_parameters: scalingSchema.nullish(),
};

/** A scaling type's fields and formula. `read` gets the numbers in the order of `fields`, and the whole section. */
interface ScalingType {
  readonly fields: readonly ScalingNumber[];
  /** Optional fields. */
  readonly optional?: readonly string[];
  readonly read: (numbers: readonly number[], json: ScalingJson) => RotaryScaling | undefined;
}

type ScalingNumber =
  | 'factor'
  | 'low_freq_factor'
  | 'high_freq_factor'
  | 'original_max_position_embeddings'
  | 'attention_factor';

const scalings: Readonly<Record<string, ScalingType>> = {
  default: { fields: [], read: () => undefined },
  linear: { fields: ['factor'], read: ([factor]) => ({ type: 'linear', factor }) },
  llama3: {
    fields: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
    read: ([factor, lowFrequencyFactor, highFrequencyFactor, originalLength]) => ({
      type: 'llama3',
      factor,
      lowFrequencyFactor,
      highFrequencyFactor,
      originalLength,
    }),
  },
  yarn: {
    fields: ['factor', 'original_max_position_embeddings'],
    optional: ['beta_fast', 'beta_slow', 'attention_factor'],
    read: ([factor, originalLength], { beta_fast: fastTurns = 32, beta_slow: slowTurns = 1, attention_factor }) => ({
      type: 'yarn',
      factor,
      originalLength,
      fastTurns,
      slowTurns,
      magnitude: attention_factor ?? 1 + 0.1 * Math.log(Math.max(1, factor)),
    }),
  },
  // If the two lists differed, a text of one length would read differently from the same text continued.
  longrope: {
    fields: ['attention_factor', 'original_max_position_embeddings'],
    optional: ['short_factor', 'long_factor', 'factor'],
    read: ([magnitude], { short_factor: factors = [], long_factor: others }) =>
      String(factors) === String(others) ? { type: 'factors', factors, magnitude } : undefined,
  },
};

/**
 * Rotary base and scaling.
 * @param title of the family, for errors
 * @param others further names that the family allows next to the base
 * @throws LinnetError `CONFIG` for an unknown type, a missing number, or a field that its type does not have
 */
export function ropeOf(
  title: string,
  config: z.infer<z.ZodObject<typeof ropeFields>>,
  others: readonly string[] = [],
): Rope {
  const { rope_theta, rope_scaling, rope_parameters } = config;
  const where = rope_scaling ? 'rope_scaling' : 'rope_parameters';
  const json = rope_scaling ?? rope_parameters;
  return {
    base: json?.rope_theta ?? rope_parameters?.rope_theta ?? rope_theta,
    scaling: json ? scalingOf(title, where, json, others) : undefined,
  };
}

function scalingOf(
  title: string,
  where: string,
  json: ScalingJson,
  others: readonly string[],
): RotaryScaling | undefined {
  const type = json.rope_type ?? json.type ?? 'default';
  if (!Object.hasOwn(scalings, type)) {
    const known = Object.keys(scalings).join(', ');
    throw configError(title, [`${where} type ${JSON.stringify(type)} is not supported; known: ${known}`]);
  }
  const { fields, optional = [], read } = scalings[type];
  const allowed: readonly string[] = ['type', 'rope_type', 'rope_theta', ...fields, ...optional, ...others];
  const problems = Object.keys(json)
    .filter((name) => !allowed.includes(name))
    .map((name) => `${where}.${name.slice(0, 80)} is not a field of type "${type}"`);
  const numbers = fields.flatMap((name) => {
    const number = json[name];
    if (number === undefined) problems.push(`${where}.${name} is missing`);
    return number ?? [];
  });
  if (problems.length > 0) throw configError(title, problems);
  const scaling = read(numbers, json);
  if (type === 'longrope' && scaling === undefined) {
    throw configError(title, [`${where}: short_factor and long_factor differ; only equal ones are supported`]);
  }
  if (scaling?.type === 'llama3' && scaling.lowFrequencyFactor >= scaling.highFrequencyFactor) {
    throw configError(title, [`${where}.high_freq_factor must be greater than low_freq_factor`]);
  }
  return scaling;
}
