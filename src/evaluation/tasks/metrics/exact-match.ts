/** Equality of texts after ignored parts have been removed from both. */
import { pythonRegex } from '../text/python-regex.ts';

export interface ExactMatchOptions {
  /** Removed wherever they match, one after the other. */
  readonly regexesToIgnore?: readonly string[];
  readonly ignoreCase?: boolean;
  /** ASCII punctuation is removed. */
  readonly ignorePunctuation?: boolean;
  /** Digits are removed. */
  readonly ignoreNumbers?: boolean;
}

const punctuation = /[!-/:-@[-`{-~]/g;

/** Whether two texts are equal. White space at their ends counts. */
export function exactMatch(prediction: string, reference: string, options: ExactMatchOptions = {}): boolean {
  return reduced(prediction, options) === reduced(reference, options);
}

function reduced(text: string, options: ExactMatchOptions): string {
  let result = text;
  for (const pattern of options.regexesToIgnore ?? []) result = result.replace(pythonRegex(pattern, 'g'), '');
  if (options.ignoreCase === true) result = result.toLowerCase();
  if (options.ignorePunctuation === true) result = result.replace(punctuation, '');
  if (options.ignoreNumbers === true) result = result.replace(/[0-9]/g, '');
  return result;
}
