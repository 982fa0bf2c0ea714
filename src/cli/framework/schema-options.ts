/** Derives command options from the library's zod schemas: kinds, bounds and descriptions. */
import { z } from 'zod';
import { internalError } from '../../errors.ts';
import { flag, optional, optionalList, required, requiredList } from './command.ts';
import { called, choice, decimal, integer, path, text, type ValueKind, wordList } from './option-values.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** The type of a schema's options: values arrive checked, and the library fills in defaults. */
type OptionsOf<Shape extends Readonly<Record<string, z.ZodType>>> = {
  [Name in keyof Shape]: z.ZodType<InputOf<Shape[Name]>, string | boolean | string[] | undefined>;
};

/** A schema's input type; its output type if the input is unknown. */
type InputOf<Schema extends z.ZodType> = unknown extends z.input<Schema> ? z.output<Schema> : z.input<Schema>;

/**
 * The options of a shape of numbers, words, texts, switches and lists of them. Each has a description, and may have a
 * placeholder, which makes a text a path if it is "folder" or "file"; both from `meta`. A default appears in help.
 * @throws LinnetError `INTERNAL` for a schema of another type or one without a description
 */
export function optionsOf<Shape extends Readonly<Record<string, z.ZodType>>>(shape: Shape): OptionsOf<Shape>;
export function optionsOf(shape: Readonly<Record<string, z.ZodType>>): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(shape).map(([name, schema]) => [name, optionOf(name, schema)]));
}

function optionOf(name: string, schema: z.ZodType): z.ZodType {
  const { inner, isOptional, defaultValue, meta } = unwrapped(schema);
  const said = meta.description;
  if (said === undefined) throw internalError(`option ${name} has no description`);
  const suffix = typeof defaultValue === 'string' || typeof defaultValue === 'number' ? defaultValue : undefined;
  const description = said + (suffix === undefined ? '' : ` (default: ${suffix})`);
  if (inner instanceof z.ZodBoolean) return flag(description);
  const placeholder = typeof meta.placeholder === 'string' ? meta.placeholder : undefined;
  if (inner instanceof z.ZodArray && inner.element instanceof z.ZodString) {
    return (isOptional ? optionalList : requiredList)(called(placeholder ?? 'texts', text), description);
  }
  const kind = valueKind(inner, placeholder);
  if (kind === undefined) throw internalError(`option ${name} is of no type that options have`);
  return (isOptional ? optional : required)(placeholder === undefined ? kind : called(placeholder, kind), description);
}

/** A schema without its optional, default and read-only wrappers, with the metadata of all levels, the outermost first. */
function unwrapped(schema: unknown): {
  inner: unknown;
  isOptional: boolean;
  defaultValue?: unknown;
  meta: JsonObject & { readonly description?: string };
} {
  const meta = schema instanceof z.ZodType ? (schema.meta() ?? {}) : {};
  const mayLack = schema instanceof z.ZodOptional || schema instanceof z.ZodDefault;
  if (!mayLack && !(schema instanceof z.ZodReadonly)) return { inner: schema, isOptional: false, meta };
  const below = unwrapped(schema.unwrap());
  const defaultValue = schema instanceof z.ZodDefault ? schema.def.defaultValue : below.defaultValue;
  return {
    inner: below.inner,
    isOptional: mayLack || below.isOptional,
    defaultValue,
    meta: { ...below.meta, ...meta },
  };
}

type OptionValue = string | number | string[];

function valueKind(schema: unknown, placeholder: string | undefined): ValueKind<OptionValue> | undefined {
  if (schema instanceof z.ZodEnum) return choice(schema.options.map(String));
  if (schema instanceof z.ZodString) return placeholder === 'folder' || placeholder === 'file' ? path : text;
  if (schema instanceof z.ZodArray && schema.element instanceof z.ZodEnum) {
    return wordList(schema.element.options.map(String));
  }
  if (!(schema instanceof z.ZodNumber)) return undefined;
  const kind = schema.format === 'safeint' ? integer : decimal;
  return kind(finite(schema.minValue), finite(schema.maxValue), 'number');
}

/** A meaningful bound; integer schemas also carry the bounds of safe integers. */
function finite(bound: number | null): number | undefined {
  return bound === null || !Number.isFinite(bound) || Math.abs(bound) === Number.MAX_SAFE_INTEGER ? undefined : bound;
}
