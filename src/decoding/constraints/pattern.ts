/** Patterns of texts: the language of a constraint, before it is made into a machine. */

/** Code points from the first to the last, both included. */
export type CodePoints = readonly [first: number, last: number];

/** Ranges by their first and last characters: `09` are the digits. */
export function spans(...pairs: readonly string[]): CodePoints[] {
  return pairs.map(([first, last]): CodePoints => [first.charCodeAt(0), last.charCodeAt(0)]);
}

/** A pattern of a part of a text. Patterns that occur in several places may be shared. */
export type Pattern =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'character'; readonly ranges: readonly CodePoints[] }
  | { readonly kind: 'sequence'; readonly parts: readonly Pattern[] }
  | { readonly kind: 'choice'; readonly options: readonly Pattern[] }
  | { readonly kind: 'repeat'; readonly part: Pattern; readonly least: number; readonly most: number }
  /** The rule of this name, which may contain itself. */
  | { readonly kind: 'rule'; readonly name: string };

/** Patterns by name, and the one that whole texts follow. */
export interface Grammar {
  readonly root: Pattern;
  readonly rules: ReadonlyMap<string, Pattern>;
}

export function exactText(exact: string): Pattern {
  return { kind: 'text', text: exact };
}

export function character(...ranges: readonly CodePoints[]): Pattern {
  return { kind: 'character', ranges };
}

export function sequence(...parts: readonly Pattern[]): Pattern {
  return parts.length === 1 ? parts[0] : { kind: 'sequence', parts };
}

export function anyOf(...options: readonly Pattern[]): Pattern {
  return options.length === 1 ? options[0] : { kind: 'choice', options };
}

/** @param most Infinity for any number */
export function repeat(part: Pattern, least: number, most: number): Pattern {
  return { kind: 'repeat', part, least, most };
}

export function optionalPart(part: Pattern): Pattern {
  return repeat(part, 0, 1);
}

export function rule(name: string): Pattern {
  return { kind: 'rule', name };
}

export const nothing: Pattern = { kind: 'sequence', parts: [] };

/** Ranges in order, without overlaps. */
function sorted(ranges: readonly CodePoints[]): CodePoints[] {
  const result: CodePoints[] = [];
  for (const [first, last] of [...ranges].sort(([a], [b]) => a - b)) {
    const before = result.at(-1);
    if (before !== undefined && first <= before[1] + 1) {
      result[result.length - 1] = [before[0], Math.max(before[1], last)];
    } else {
      result.push([first, last]);
    }
  }
  return result;
}

/** All code points but the given ones; surrogates are none. */
export function allBut(ranges: readonly CodePoints[]): CodePoints[] {
  const result: CodePoints[] = [];
  let next = 0;
  for (const [first, last] of sorted([...ranges, [0xd800, 0xdfff]])) {
    if (first > next) result.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= 0x10ffff) result.push([next, 0x10ffff]);
  return result;
}

/** The intersection of two sets. */
export function common(a: readonly CodePoints[], b: readonly CodePoints[]): CodePoints[] {
  return a.flatMap(([first, last]) =>
    b.map(([low, high]): CodePoints => [Math.max(first, low), Math.min(last, high)]).filter(([from, to]) => from <= to),
  );
}
