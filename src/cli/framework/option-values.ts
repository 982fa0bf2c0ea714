/** Kinds of values on a command line: how their text is checked and read, and how help and errors describe them. */
import { z } from 'zod';
import { type AttentionPart, attentionParts } from '../../models/config-fields.ts';
import { isRedisUrl } from '../../redis/client.ts';
import { filledText } from '../../files/schema-values.ts';

export interface ValueKind<T> {
  readonly schema: z.ZodType<T, string>;
  /** Completes "expected …". */
  readonly expects: string;
  /** Name of the value in help: `--seed <number>`. */
  readonly placeholder: string;
}

/** A kind whose values have another name in help. */
export function called<T>(placeholder: string, kind: ValueKind<T>): ValueKind<T> {
  return { ...kind, placeholder };
}

function describeBounds(min: number, max: number): string {
  if (Number.isFinite(min) && Number.isFinite(max)) return ` from ${min} to ${max}`;
  if (Number.isFinite(min)) return ` of at least ${min}`;
  return Number.isFinite(max) ? ` of at most ${max}` : '';
}

export function integer(min = -Infinity, max = Infinity, placeholder = 'count'): ValueKind<number> {
  return {
    schema: z
      .string()
      .regex(/^[+-]?\d+$/)
      .transform(Number)
      .refine((value) => Number.isSafeInteger(value) && value >= min && value <= max),
    expects: `a whole number${describeBounds(min, max)}`,
    placeholder,
  };
}

export const seed32 = integer(0, 0xffffffff, 'number');

/** A finite decimal number, `1e-5` included. */
export function decimal(min = -Infinity, max = Infinity, placeholder = 'number'): ValueKind<number> {
  return {
    schema: z
      .string()
      .regex(/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i)
      .transform(Number)
      .refine((value) => Number.isFinite(value) && value >= min && value <= max),
    expects: `a number${describeBounds(min, max)}`,
    placeholder,
  };
}

/** A number and its unit, as a number of the unit that counts 1. */
function withUnit(units: Readonly<Record<string, number>>): z.ZodType<number, string> {
  const pattern = /^(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]*)$/i;
  return z
    .string()
    .transform((text) => {
      const [, number, unit = 'none'] = pattern.exec(text) ?? [];
      return Number(number) * (units[unit.toLowerCase()] ?? Number.NaN);
    })
    .refine((value) => value <= 2 ** 50);
}

/** An amount of memory: `256MiB`, or a number of MiB. */
export const byteCount: ValueKind<number> = {
  schema: withUnit({ '': 2 ** 20, b: 1, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 }),
  expects: 'an amount such as 64KiB, 256MiB or 2GiB; a plain number counts MiB',
  placeholder: 'bytes',
};

export const duration: ValueKind<number> = {
  schema: withUnit({ s: 1, m: 60, h: 3600 }),
  expects: 'a time such as 90s, 10m or 2h',
  placeholder: 'time',
};

const synonyms: Readonly<Record<string, string>> = {
  float32: 'f32',
  fp32: 'f32',
  float16: 'f16',
  fp16: 'f16',
  half: 'f16',
  bfloat16: 'bf16',
  int8: 'w8a8',
};

function oneOf<const T extends string | number>(
  values: readonly T[],
  plain: (word: string) => string = (word) => word,
): z.ZodType<T, string> {
  return z.string().transform((text, context) => {
    const match = values.find((value) => plain(String(value)) === plain(text));
    if (match !== undefined) return match;
    context.addIssue({ code: 'custom', input: text });
    return z.NEVER;
  });
}

/** One of some words, in capitals or not. */
export function choice<const T extends string>(words: readonly T[], placeholder = 'name'): ValueKind<T> {
  const plain = (word: string): string => synonyms[word.toLowerCase()] ?? word.toLowerCase();
  return { schema: oneOf(words, plain), expects: `one of ${words.join(', ')}`, placeholder };
}

export function numberChoice<const T extends number>(numbers: readonly T[]): ValueKind<T> {
  return { schema: oneOf(numbers), expects: `one of ${numbers.join(', ')}`, placeholder: 'size' };
}

export const text: ValueKind<string> = {
  schema: filledText,
  expects: 'a non-empty text',
  placeholder: 'text',
};

/** Without the spaces around commas. */
const parts = z.string().transform((text) => text.split(',').map((part) => part.trim()));

/** Texts with commas between them. @param most characters of each */
export function textList(most: number): ValueKind<string[]> {
  return {
    schema: parts.pipe(z.array(filledText.max(most))),
    expects: `comma-separated texts of 1 to ${most} characters`,
    placeholder: 'texts',
  };
}

export const anyText: ValueKind<string> = { schema: z.string(), expects: 'a text', placeholder: 'text' };

export const path: ValueKind<string> = {
  schema: z.string().refine((text) => text !== '' && !text.includes('\0')),
  expects: 'a path',
  placeholder: 'path',
};

export const filePath = called('file', path);

export const folderPath = called('folder', path);

export const redisUrl: ValueKind<string> = {
  schema: z.string().refine((text) => isRedisUrl(text) && URL.canParse(text)),
  expects: 'an address such as redis://127.0.0.1:6379',
  placeholder: 'redis://…',
};

/** Whole numbers with commas between them. @param digits a pattern of one of them */
function numberList(digits: string, expects: string, placeholder: string): ValueKind<number[]> {
  const schema = z
    .string()
    .regex(new RegExp(`^\\s*${digits}(\\s*,\\s*${digits})*\\s*$`))
    .transform((value) => value.split(',').map(Number));
  return { schema, expects: `comma-separated ${expects}, such as 64,1024`, placeholder };
}

/** Such as contexts or widths. */
export const countList = numberList('[1-9]\\d{0,8}', 'positive whole numbers', 'list');

export const tokenIds = numberList('\\d{1,9}', 'token ids', 'ids');

/** More layers than any model has; keeps a typing error from filling memory. */
const largestIndex = 65535;

/** Indices and ranges of indices, both ends included: `0-3,5` is 0, 1, 2, 3, 5. Ascending, without repetitions. */
export const indexList: ValueKind<number[]> = {
  schema: z
    .string()
    .regex(/^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/)
    .transform((text) => text.split(',').map((part) => part.split('-').map(Number)))
    .refine((ranges) => ranges.every(([first, last = first]) => first <= last && last <= largestIndex))
    .transform((ranges) => {
      const indices = ranges.flatMap(([first, last = first]) =>
        Array.from({ length: last - first + 1 }, (_, i) => first + i),
      );
      return [...new Set(indices)].sort((a, b) => a - b);
    }),
  expects: 'comma-separated indices and ascending ranges, such as 0-3,5',
  placeholder: 'list',
};

/** Attentions of an encoder-decoder model. Without repetitions. */
export const partList: ValueKind<AttentionPart[]> = {
  schema: parts
    .pipe(z.array(z.enum(attentionParts)))
    .transform((given) => attentionParts.filter((part) => given.includes(part))),
  expects: `${attentionParts.join(', ')}, separated by commas`,
  placeholder: 'parts',
};

/** A first and a last index, both counted from 0 and included. */
export interface IndexRange {
  readonly first: number;
  readonly last: number;
}

export const indexRange: ValueKind<IndexRange> = {
  schema: z
    .string()
    .regex(/^\d{1,9}(-\d{1,9})?$/)
    .transform((text) => {
      const [first, last = first] = text.split('-').map(Number);
      return { first, last };
    })
    .refine(({ first, last }) => first <= last),
  expects: 'a range of indices counted from 0, such as 110-129',
  placeholder: 'first-last',
};

/** Some of some words, with commas between them. */
export function wordList<const T extends string>(words: readonly T[]): ValueKind<T[]> {
  const { schema, expects } = choice(words);
  const list = parts.pipe(z.array(schema));
  return { schema: list, expects: `${expects}, separated by commas`, placeholder: 'names' };
}
