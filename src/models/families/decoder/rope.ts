/** Base and scaling of rotary positions in config.json. */
import { z } from 'zod';
import type { RotaryScaling } from '../../../nn/rotary-positions.ts';
import { configError } from '../../config-fields.ts';

/** Read loosely here, and checked by the fields of its type, so that an unknown type is refused by its name. */
const scalingSchema = z.looseObject({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z
    .int()
    .min(1)
    .max(1 << 24)
    .optional(),
});

type ScalingJson = z.infer<typeof scalingSchema>;

export const ropeFields = {
  rope_theta: z.number().positive().default(10000),
  rope_scaling: scalingSchema.nullish(),
  // Since version 5, transformers writes base and scaling together.
  rope_parameters: scalingSchema.extend({ rope_theta: z.number().positive().optional() }).nullish(),
};

/** Fields and formula of a type of scaling. `read` is given the numbers in the order of `fields`. */
interface ScalingType {
  readonly fields: readonly ('factor' | 'low_freq_factor' | 'high_freq_factor' | 'original_max_position_embeddings')[];
  readonly read: (numbers: readonly number[]) => RotaryScaling | undefined;
}

const scalings: Readonly<Record<string, ScalingType>> = {
  default: { fields: [], read: () => undefined },
  linear: { fields: ['factor'], read: ([factor]) => ({ type: 'linear', factor }) },
  llama3: {
    fields: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
    read: ([factor, lowFrequencyFactor, highFrequencyFactor, originalLength]) => ({
      ...{ type: 'llama3', factor, lowFrequencyFactor, highFrequencyFactor, originalLength },
    }),
  },
};

/**
 * Base and scaling.
 * @param title of the family, for errors
 * @throws LinnetError `CONFIG` for an unknown type, a number that is missing, or a field that its type does not have
 */
export function ropeOf(
  title: string,
  config: z.infer<z.ZodObject<typeof ropeFields>>,
): { readonly ropeBase: number; readonly ropeScaling?: RotaryScaling } {
  const { rope_theta, rope_scaling, rope_parameters } = config;
  const ropeBase = rope_parameters?.rope_theta ?? rope_theta;
  const where = rope_parameters ? 'rope_parameters' : 'rope_scaling';
  const json = rope_parameters ?? rope_scaling;
  return { ropeBase, ropeScaling: json ? scalingOf(title, where, json) : undefined };
}

function scalingOf(title: string, where: string, json: ScalingJson): RotaryScaling | undefined {
  const type = json.rope_type ?? json.type ?? 'default';
  if (!Object.hasOwn(scalings, type)) {
    const known = Object.keys(scalings).join(', ');
    throw configError(title, [`${where} type ${JSON.stringify(type)} is not supported; known: ${known}`]);
  }
  const { fields, read } = scalings[type];
  const allowed: readonly string[] = ['type', 'rope_type', 'rope_theta', ...fields];
  const problems = Object.keys(json)
    .filter((name) => !allowed.includes(name))
    .map((name) => `${where}.${name.slice(0, 80)} is not a field of type "${type}"`);
  const numbers = fields.flatMap((name) => {
    const number = json[name];
    if (number === undefined) problems.push(`${where}.${name} is missing`);
    return number ?? [];
  });
  if (problems.length > 0) throw configError(title, problems);
  const scaling = read(numbers);
  if (scaling?.type === 'llama3' && scaling.lowFrequencyFactor >= scaling.highFrequencyFactor) {
    throw configError(title, [`${where}.high_freq_factor must be greater than low_freq_factor`]);
  }
  return scaling;
}
