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

/** What surrounds the free text. */
interface Surroundings {
  /** The pattern after the first occurrence of `end`. */
  readonly after: Pattern;
  /** Receives the rules. */
  readonly rules: Map<string, Pattern>;
  /** Begins the names of the rules. */
  readonly name: string;
  /** Whether the text may go on without `end`, and stop anywhere. Default false. */
  readonly mayStop?: boolean;
  /** Whether `end` counts at the beginning alone; after any other text anything may follow. Default false. */
  readonly atStart?: boolean;
}

const anything = character(...allBut([]));

/** A text in which `end` (not empty, no character outside the basic plane) does not occur, then `end`, then `after`. */
export function textUntil(
  end: string,
  { after, rules, name, mayStop = false, atStart = false }: Surroundings,
): Pattern {
  const free = `${name} free`;
  const stateName = (matched: number): string => `${name} ${matched}`;
  /** Characters of `end` that a text ends with, which ended with `matched` of them, after one more. */
  const next = (matched: number, letter: string): number => {
    const text = end.slice(0, matched) + letter;
    for (let start = 0; start < text.length; start++) if (end.startsWith(text.slice(start))) return text.length - start;
    return 0;
  };
  const letters = [...new Set(end)];
  const points = (letter: string): CodePoints => [letter.charCodeAt(0), letter.charCodeAt(0)];
  const goTo = (matched: number): Pattern => (matched === end.length ? after : rule(stateName(matched)));
  if (atStart) rules.set(free, anyOf(nothing, sequence(anything, rule(free))));
  for (let matched = 0; matched < end.length; matched++) {
    const met = atStart ? [end[matched]] : letters;
    const options = met.map((letter) => sequence(character(points(letter)), goTo(next(matched, letter))));
    const others = sequence(character(...allBut(met.map(points))), atStart ? rule(free) : goTo(0));
    rules.set(stateName(matched), anyOf(...options, others, ...(mayStop ? [nothing] : [])));
  }
  return goTo(0);
}
