/** Python's `str` behavior where JavaScript strings differ: prompts and metrics of published tasks depend on it. */

/**
 * Characters of `str.isspace`, which are also Python's `\s`: JavaScript's adds U+FEFF and lacks U+001C to U+001F and U+0085.
 */
export const pythonSpace = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const leading = new RegExp(`^[${pythonSpace}]+`, 'u');
const trailing = new RegExp(`[${pythonSpace}]+$`, 'u');
const runs = new RegExp(`[${pythonSpace}]+`, 'u');

/** `text.strip()`. */
export function strip(text: string): string {
  return text.replace(leading, '').replace(trailing, '');
}

/** A text's trailing white space, which `rstrip` removes. */
export function trailingSpace(text: string): string {
  return trailing.exec(text)?.[0] ?? '';
}

/** `text.split()`: words between white space. */
export function words(text: string): string[] {
  return text.split(runs).filter((word) => word !== '');
}

/** `re.split(r"\s+", text)`: a text that begins or ends with white space gives an empty first or last piece. */
export function splitAtSpace(text: string): string[] {
  return text.split(runs);
}

/** `text.capitalize()`: the first character in title case, all others in lower case. */
export function capitalize(text: string): string {
  const [first = ''] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** `len(text)`: code points, not UTF-16 units. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** `len(text.encode("utf-8"))`. */
export function utf8Bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
