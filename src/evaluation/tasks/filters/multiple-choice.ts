/** Answers to questions whose options are in the question: a letter in parentheses, an option's text, or a bare letter. */
import { findAll, pythonRegex } from '../text/python-regex.ts';
import { strip } from '../../../tokenizer/python-text.ts';

const options = pythonRegex('\\([A-Z]\\)([^\\n^(]*)', 'g');

export interface MultipleChoiceOptions {
  readonly regex_pattern: string;
  readonly group_select: number;
  readonly ignore_case: boolean;
  readonly ignore_punctuation: boolean;
}

/**
 * A search for the letter, as "(B)": the pattern's match; else the letter of an option whose text the answer holds;
 * else a letter after a colon.
 */
export function multipleChoice(
  config: MultipleChoiceOptions,
): (response: string, question: string) => string | undefined {
  const pattern = pythonRegex(config.regex_pattern, 'g');
  const reduce = (text: string): string => {
    const cased = config.ignore_case ? text.toLowerCase() : text;
    return config.ignore_punctuation ? cased.replace(/\p{P}/gu, '') : cased;
  };
  return (response, question) => {
    const direct = pick(findAll(pattern, response), config.group_select);
    if (direct !== undefined) return direct;
    const letters = new Map<string, string>();
    const texts = findAll(options, question).map(([text]) => reduce(strip(text)));
    texts.forEach((text, index) => letters.set(text, `(${String.fromCharCode(65 + index)})`));
    // An empty option would be found in every answer, before any letter.
    const named = pick(findAll(anyOf(texts), reduce(response)), config.group_select);
    if (named !== undefined) return letters.get(named) ?? named;
    const bare = texts.map((_, index) => String.fromCharCode(65 + index)).join('|');
    const letter =
      bare === '' ? undefined : pick(findAll(pythonRegex(`:[\\s]*(${bare})`, 'g'), response), config.group_select);
    return letter === undefined ? undefined : `(${letter})`;
  };
}

function pick(matches: readonly string[][], number: number): string | undefined {
  const found = matches.at(number)?.find((group) => group !== '');
  return found === undefined ? undefined : strip(found);
}

function anyOf(texts: readonly string[]): RegExp {
  const patterns = texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  return pythonRegex(patterns.length === 0 ? '(?!)' : patterns.join('|'), 'g');
}
