/** Which files of a model on the hub are wanted: those that Linnet reads, more by pattern, fewer by pattern. */
import picomatch from 'picomatch';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import { isPickleFile } from '../folder-files.ts';

/** Patterns such as `*.md` or `onnx*`, matched against the names of files in the top folder of the model. */
export const fileSelection = z.object({
  /** Files to fetch in addition to configuration, tokenizer and weights. Weights in pickle format are never fetched. */
  include: z.array(z.string()),
  /** Files to leave out, whatever else asks for them. */
  exclude: z.array(z.string()),
});

export type FileSelection = Readonly<z.infer<typeof fileSelection>>;

/** More than anyone types; a pattern is compiled into a regular expression. */
const MAX_PATTERN_CHARACTERS = 200;

/** Says of names whether they are asked for, and whether they are unwanted. */
export interface SelectionRules {
  readonly isIncluded: (name: string) => boolean;
  readonly isExcluded: (name: string) => boolean;
}

/** @throws LinnetError `INPUT` for a pattern that is empty, too long or matches in other folders */
export function selectionRules({ include, exclude }: FileSelection): SelectionRules {
  const included = matcher(include);
  return {
    isIncluded: (name) => isPlainName(name) && !isPickleFile(name) && included(name),
    isExcluded: matcher(exclude),
  };
}

export function sameSelection(a: FileSelection, b: FileSelection): boolean {
  const text = ({ include, exclude }: FileSelection): string =>
    JSON.stringify([[...new Set(include)].sort(), [...new Set(exclude)].sort()]);
  return text(a) === text(b);
}

function matcher(patterns: readonly string[]): (name: string) => boolean {
  for (const pattern of patterns) {
    if (pattern === '' || pattern.length > MAX_PATTERN_CHARACTERS || /[/\\]/.test(pattern)) {
      const expected = `a pattern of at most ${MAX_PATTERN_CHARACTERS} characters for file names without folders, such as "*.md"`;
      throw new LinnetError('INPUT', `${quoteName(pattern)} is not usable; expected ${expected}`);
    }
  }
  return patterns.length === 0 ? () => false : picomatch([...patterns], { nonegate: true });
}

/** A listing comes from a server: nothing it names may lead out of the folder or take the place of our own note. */
function isPlainName(name: string): boolean {
  return /^[\w][\w .+-]{0,199}$/.test(name) && !/^linnet/i.test(name);
}
