/** How names out of hostile files appear in error messages: quoted, control characters escaped, and never endless. */

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

/** The first few names as they are, each cut: `text, label, 3 more`. */
export function plainNames(names: readonly string[], limit = 10): string {
  const shown = names.slice(0, limit).map((name) => (name.length > 40 ? `${name.slice(0, 40)}…` : name));
  return [...shown, ...(names.length > limit ? [`${names.length - limit} more`] : [])].join(', ');
}

/** An unexpected value of a file, as JSON, truncated as names are. */
export function shownValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > LONGEST_NAME ? `${text.slice(0, LONGEST_NAME)}…` : text;
}
