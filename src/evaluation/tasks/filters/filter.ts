/** Filters extract the answer from generated text. A task names them and sets their parameters. */
import { z } from 'zod';
import type { RowValue } from '../../../data/files/parquet-rows.ts';
import { findAll, pythonRegex } from '../text/python-regex.ts';
import { strip, words } from '../../../tokenizer/python-text.ts';
import { parseNumber } from './number-words.ts';
import { offByDefault } from '../../../files/schema-values.ts';

/** Replaces an answer that was not found, unless a task says otherwise. */
const notFound = '[invalid]';

export type Filter = (response: string, row: Readonly<Record<string, RowValue>>) => string;

/** Parameters of filters that choose among matches. */
const selection = {
  /** Which match counts: 0 is the first, −1 the last. */
  group_select: z.int().default(0),
  fallback: z.string().default(notFound),
};

const choiceSchema = z.strictObject({
  regex_pattern: z.string(),
  ignore_case: offByDefault,
  ignore_punctuation: offByDefault,
  ...selection,
});

interface FilterKind {
  readonly schema: z.ZodType;
  /** @throws ZodError for parameters that the schema refuses; LinnetError `CONFIG` for an invalid pattern */
  make(parameters: unknown): Filter;
}

function kind<S extends z.ZodType>(schema: S, make: (parameters: z.output<S>) => Filter): FilterKind {
  return { schema, make: (parameters) => make(schema.parse(parameters)) };
}

/** A pattern's match, otherwise the result of another reading. */
function matching(otherwise?: (response: string, select: number) => string | undefined): FilterKind {
  return kind(
    z.strictObject({ regex_pattern: z.string(), ...selection }),
    ({ regex_pattern, group_select, fallback }) => {
      const expression = pythonRegex(regex_pattern, 'g');
      return (response) =>
        selectMatch(findAll(expression, response), group_select) ?? otherwise?.(response, group_select) ?? fallback;
    },
  );
}

const kinds: Readonly<Record<string, FilterKind>> = {
  take_first: kind(z.strictObject({}), () => (response) => response),
  strip: kind(z.strictObject({}), () => strip),
  regex: matching(),
  multi_choice_regex: kind(choiceSchema, (config) => {
    const find = multipleChoice(config);
    return (response, { input }) => find(response, questionOf(input)) ?? config.fallback;
  }),
  number_parse: matching(parseNumber),
  map_regex: kind(
    z.strictObject({
      regex_pattern_to_value: z.record(z.string(), z.string()),
      ignore_case: offByDefault,
      ...selection,
    }),
    ({ regex_pattern_to_value: values, group_select, fallback, ignore_case }) => {
      const flags = ignore_case ? 'i' : '';
      const keys = Object.keys(values);
      const any = pythonRegex(keys.join('|'), `g${flags}`);
      return (response) => {
        const found = selectMatch(findAll(any, response), group_select);
        const key = keys.find((pattern) => found !== undefined && pythonRegex(pattern, flags).test(found));
        return key === undefined ? fallback : values[key];
      };
    },
  ),
  word_sort: kind(z.strictObject({}), () => sortedWords),
};

export const filterSchema = z
  .looseObject({ function: z.string() })
  .superRefine(({ function: name, ...others }, context) => {
    if (!Object.hasOwn(kinds, name)) {
      const known = Object.keys(kinds).join(', ');
      context.addIssue({ code: 'custom', path: ['function'], message: `"${name}" is not a filter; expected ${known}` });
      return;
    }
    for (const { path, message } of kinds[name].schema.safeParse(others).error?.issues ?? []) {
      context.addIssue({ code: 'custom', path, message });
    }
  });

export type FilterConfig = z.output<typeof filterSchema>;

/** Makes a filter from a checked configuration. @throws LinnetError `CONFIG` for an invalid pattern */
export function makeFilter({ function: name, ...parameters }: FilterConfig): Filter {
  return kinds[name].make(parameters);
}

function questionOf(input: RowValue | undefined): string {
  return typeof input === 'string' ? input : '';
}

/** A match by number, negative ones from the end; of several groups, the first that is not empty. */
function selectMatch(matches: readonly string[][], number: number): string | undefined {
  return matches.at(number) && (filledMatch(matches, number) ?? '');
}

/** Like `selectMatch`; also undefined if all groups are empty. */
function filledMatch(matches: readonly string[][], number: number): string | undefined {
  const found = matches.at(number)?.find((group) => group !== '');
  return found === undefined ? undefined : strip(found);
}

const optionTexts = pythonRegex('\\([A-Z]\\)([^\\n^(]*)', 'g');

/**
 * A search for the letter, as "(B)": the pattern's match; otherwise the letter of an option whose text the answer holds;
 * otherwise a letter after a colon.
 */
function multipleChoice(
  config: z.output<typeof choiceSchema>,
): (response: string, question: string) => string | undefined {
  const pattern = pythonRegex(config.regex_pattern, 'g');
  const reduce = (text: string): string => {
    const cased = config.ignore_case ? text.toLowerCase() : text;
    return config.ignore_punctuation ? cased.replace(/\p{P}/gu, '') : cased;
  };
  return (response, question) => {
    const direct = filledMatch(findAll(pattern, response), config.group_select);
    if (direct !== undefined) return direct;
    const letters = new Map<string, string>();
    const texts = findAll(optionTexts, question).map(([text]) => reduce(strip(text)));
    texts.forEach((text, index) => letters.set(text, `(${String.fromCharCode(65 + index)})`));
    // An empty option would match every answer, before any letter.
    const named = filledMatch(findAll(anyOf(texts.map(escapePattern)), reduce(response)), config.group_select);
    if (named !== undefined) return letters.get(named) ?? named;
    const bare = texts.map((_, index) => String.fromCharCode(65 + index)).join('|');
    const letter =
      bare === ''
        ? undefined
        : filledMatch(findAll(pythonRegex(`:[\\s]*(${bare})`, 'g'), response), config.group_select);
    return letter === undefined ? undefined : `(${letter})`;
  };
}

/** A list's words, by each one's last place in the answer. */
function sortedWords(response: string, { input }: Readonly<Record<string, RowValue>>): string {
  const wanted = words(questionOf(input).split('List:')[1] ?? '');
  const any = anyOf(wanted.map((word) => `\\b${escapePattern(word)}\\b`));
  const found = findAll(any, response).map(([word]) => word);
  return found.filter((word, index) => !found.includes(word, index + 1)).join(' ');
}

/** Matches any of the patterns; nothing if there are none. */
function anyOf(patterns: readonly string[]): RegExp {
  return pythonRegex(patterns.length === 0 ? '(?!)' : patterns.join('|'), 'g');
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
