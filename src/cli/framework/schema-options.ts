/** Options of a command out of the zod schemas that check the same values in the library: kinds, bounds and descriptions. */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { flag, optional } from './command.ts';
import { choice, decimal, integer, type ValueKind } from './option-values.ts';

/** What a schema of options becomes: each value may be left out, and arrives checked. */
export type OptionsOf<Shape extends Readonly<Record<string, z.ZodType>>> = {
  [Name in keyof Shape]: z.ZodType<z.output<Shape[Name]>, string | boolean | undefined>;
};

/**
 * The options of a shape of optional numbers, words and switches, each with a description.
 * @throws LinnetError `INTERNAL` for a schema of another type or one without a description
 */
export function optionsOf<Shape extends Readonly<Record<string, z.ZodType>>>(shape: Shape): OptionsOf<Shape>;
export function optionsOf(shape: Readonly<Record<string, z.ZodType>>): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(shape).map(([name, schema]) => [name, optionOf(name, schema)]));
}

function optionOf(name: string, schema: z.ZodType): z.ZodType {
  const { description } = schema;
  const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  if (description === undefined) throw new LinnetError('INTERNAL', `internal: option ${name} has no description`);
  if (inner instanceof z.ZodBoolean) return flag(description);
  const named = valueKind(inner);
  if (named === undefined)
    throw new LinnetError('INTERNAL', `internal: option ${name} is of no type that options have`);
  return optional(named.kind, { placeholder: named.placeholder, description });
}

function valueKind(schema: unknown): { kind: ValueKind<string | number>; placeholder: string } | undefined {
  if (schema instanceof z.ZodEnum) return { kind: choice(schema.options.map(String)), placeholder: 'name' };
  if (!(schema instanceof z.ZodNumber)) return undefined;
  const bounds = { min: schema.minValue ?? undefined, max: schema.maxValue ?? undefined };
  const whole = schema.format === 'safeint';
  return { kind: whole ? integer(bounds) : decimal(bounds), placeholder: 'number' };
}
