/** Equality of texts after removing ignored parts from both. */
import { z } from 'zod';
import { pythonRegex } from '../text/python-regex.ts';

/** Differences to ignore, as task files name them. */
export const exactMatchFields = {
  ignore_case: z.boolean().optional(),
  /** Removes ASCII punctuation. */
  ignore_punctuation: z.boolean().optional(),
  /** Removes digits. */
  ignore_numbers: z.boolean().optional(),
  /** Removed wherever they match, one after the other. */
  regexes_to_ignore: z.array(z.string()).optional(),
};

export type ExactMatchOptions = z.output<z.ZodObject<typeof exactMatchFields>>;

const punctuation = /[!-/:-@[-`{-~]/g;

/** Whether two texts are equal. White space at their ends counts. */
export function exactMatch(prediction: string, reference: string, options: ExactMatchOptions = {}): boolean {
  return reduced(prediction, options) === reduced(reference, options);
}

function reduced(text: string, options: ExactMatchOptions): string {
  let result = text;
  for (const pattern of options.regexes_to_ignore ?? []) result = result.replace(pythonRegex(pattern, 'g'), '');
  if (options.ignore_case === true) result = result.toLowerCase();
  if (options.ignore_punctuation === true) result = result.replace(punctuation, '');
  if (options.ignore_numbers === true) result = result.replace(/[0-9]/g, '');
  return result;
}
