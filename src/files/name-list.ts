/**
 * Names from hostile files: error messages quote them, escape control characters and cut them; names that decide which files
 * are opened or fetched are checked. Also finds the known name that an unknown one resembles.
 */
import { LinnetError } from '../errors.ts';

const LONGEST_NAME = 120;

/** A name as a JSON string, cut to a readable length. */
export function quoteName(name: string): string {
  return JSON.stringify(name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}…` : name);
}

/** The first few names and how many more there are: `"a", "b", "c" and 12 more`. */
export function listNames(names: readonly string[], limit = 5): string {
  const shown = names.slice(0, limit).map(quoteName).join(', ');
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}

/** The first few names, unquoted, each cut: `text, label, 3 more`. */
export function plainNames(names: readonly string[], limit = 10): string {
  const shown = names.slice(0, limit).map((name) => (name.length > 40 ? `${name.slice(0, 40)}…` : name));
  return [...shown, ...(names.length > limit ? [`${names.length - limit} more`] : [])].join(', ');
}

/** An unexpected value from a file, as JSON, truncated like names. */
export function shownValue(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value, bigAsText) ?? String(value));
  return text.length > LONGEST_NAME ? `${text.slice(0, LONGEST_NAME)}…` : text;
}

function bigAsText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

/**
 * Checks that a name from a file is one plain file name: no separators of any system, no drive letters, no `..`.
 * @throws LinnetError `PATH`
 */
export function checkPlainFileName(name: string, source: string): string {
  const plain = name !== '' && name !== '.' && name !== '..' && name.length <= 255 && !/[/\\:\p{Cc}]/u.test(name);
  if (!plain) throw new LinnetError('PATH', `${source}: ${quoteName(name)} is not a plain file name inside the folder`);
  return name;
}

/** Letters to insert, remove or replace, or neighbors to swap, to turn one word into the other (optimal string alignment). */
function editDistance(one: string, other: string): number {
  let before: readonly number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 0; i < one.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const isSwap = i > 0 && j > 0 && one[i] === other[j - 1] && one[i - 1] === other[j];
      const swapped = isSwap ? before[j - 1] + 1 : Infinity;
      next.push(Math.min(row[j] + (one[i] === other[j] ? 0 : 1), row[j + 1] + 1, next[j] + 1, swapped));
    }
    [before, row] = [row, next];
  }
  return row[other.length];
}

/** The nearest known name, if at most a third of its letters differ; case, `_` and `-` do not count. */
export function nearName(given: string, known: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replaceAll(/[_-]/g, '');
  let best: { readonly name: string; readonly distance: number } | undefined;
  for (const name of known) {
    const distance = editDistance(plain(given).slice(0, 100), plain(name).slice(0, 100));
    if (distance <= name.length / 3 && distance < (best?.distance ?? Infinity)) best = { name, distance };
  }
  return best?.name;
}
