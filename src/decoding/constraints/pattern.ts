/** Patterns of texts: a constraint's language, before it becomes a machine. */

/** A range of code points, inclusive. */
export type CodePoints = readonly [first: number, last: number];

/** Ranges by first and last character: `09` means the digits. */
export function spans(...pairs: readonly string[]): CodePoints[] {
  return pairs.map(([first, last]): CodePoints => [first.charCodeAt(0), last.charCodeAt(0)]);
}

/** A pattern for part of a text. Several places may share a pattern. */
export type Pattern =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'character'; readonly ranges: readonly CodePoints[] }
  | { readonly kind: 'sequence'; readonly parts: readonly Pattern[] }
  | { readonly kind: 'choice'; readonly options: readonly Pattern[] }
  | { readonly kind: 'repeat'; readonly part: Pattern; readonly least: number; readonly most: number }
  /** The rule with this name, which may contain itself. */
  | { readonly kind: 'rule'; readonly name: string };

/** Patterns by name, and the one for whole texts. */
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

/** Sorted ranges without overlaps. */
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

/** All code points except the given ones and surrogates. */
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

/** What surrounds free text. */
interface Surroundings {
  /** The pattern after the first occurrence of `end`. */
  readonly after: Pattern;
  /** Receives the rules. */
  readonly rules: Map<string, Pattern>;
  /** Prefix of the rules' names. */
  readonly name: string;
  /** Whether the text may continue without `end`, and stop anywhere. Default false. */
  readonly mayStop?: boolean;
  /** Whether `end` counts only at the beginning; after any other text anything may follow. Default false. */
  readonly atStart?: boolean;
}

const anything = character(...allBut([]));

/** A text without `end` (not empty, only basic-plane characters), then `end`, then `after`. */
export function textUntil(
  end: string,
  { after, rules, name, mayStop = false, atStart = false }: Surroundings,
): Pattern {
  const free = `${name} free`;
  const stateName = (matched: number): string => `${name} ${matched}`;
  /** How many characters of `end` a text ends with after one more letter, if it ended with `matched` before. */
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

// Patterns for the parts of JSON texts: strings, bounded numbers, white space.

/** Between the parts of a text: nothing, a space, or a newline with its indent. Bounded, so that no text is all space. */
export const blanks = rule('blanks');
/** A string's character, plain or escaped. */
const stringCharacter = rule('character');
/** Any JSON. */
export const anyValue = rule('any');

/** Characters that strings hold unescaped: all except control characters, quotes and backslashes. */
export const plainCharacters = allBut(spans('\0\x1f', '""', '\\\\'));
const digit = character(...spans('09'));
const digitButZero = character(...spans('19'));
const hex = character(...spans('09', 'AF', 'af'));

export const jsonString = stringOf(0, Infinity);

/** A string with bounds on its length in characters. */
export function stringOf(least: number, most: number): Pattern {
  return sequence(exactText('"'), repeat(stringCharacter, least, most), exactText('"'));
}

/** Digits that a double holds exactly, so that the number is read as written. */
export const jsonInteger = sequence(
  optionalPart(exactText('-')),
  anyOf(exactText('0'), sequence(digitButZero, repeat(digit, 0, 14))),
);

export const jsonNumber = sequence(
  jsonInteger,
  optionalPart(sequence(exactText('.'), repeat(digit, 1, 16))),
  optionalPart(
    sequence(character(...spans('EE', 'ee')), optionalPart(character(...spans('++', '--'))), repeat(digit, 1, 2)),
  ),
);

/** The rules that this file's patterns refer to. */
export function jsonRules(): Map<string, Pattern> {
  const escaped = anyOf(
    character(...spans(...Array.from('"\\/bfnrt', (letter) => letter + letter))),
    // Omits halves of surrogate pairs.
    sequence(
      exactText('u'),
      anyOf(
        sequence(character(...spans('09', 'AC', 'EF', 'ac', 'ef')), repeat(hex, 3, 3)),
        sequence(character(...spans('DD', 'dd')), character(...spans('07')), repeat(hex, 2, 2)),
      ),
    ),
  );
  const indent = repeat(exactText(' '), 0, 20);
  return new Map([
    ['blanks', anyOf(nothing, exactText(' '), sequence(exactText('\n'), indent))],
    ['character', anyOf(character(...plainCharacters), sequence(exactText('\\'), escaped))],
    [
      'any',
      anyOf(
        exactText('null'),
        exactText('true'),
        exactText('false'),
        jsonNumber,
        jsonString,
        jsonArray([], anyValue, 0, Infinity),
        jsonObject([], anyValue),
      ),
    ],
  ]);
}

/** An array: the first places as given, then items. */
export function jsonArray(first: readonly Pattern[], item: Pattern | undefined, least: number, most: number): Pattern {
  const comma = sequence(blanks, exactText(','), blanks);
  const from = (place: number): Pattern => {
    if (place >= most) return nothing;
    const part = first.at(place) ?? item;
    if (part === undefined) return nothing;
    const here = place === 0 ? part : sequence(comma, part);
    if (place < first.length) {
      const rest = sequence(here, from(place + 1));
      return place < least ? rest : optionalPart(rest);
    }
    if (place > 0) return repeat(here, Math.max(0, least - place), most - place);
    const others = repeat(sequence(comma, part), Math.max(0, least - 1), most - 1);
    return least > 0 ? sequence(part, others) : optionalPart(sequence(part, others));
  };
  return sequence(exactText('['), blanks, from(0), blanks, exactText(']'));
}

/** An object's property. */
export interface Member {
  readonly name: string;
  readonly value: Pattern;
  readonly required: boolean;
}

/**
 * Members in order; optional ones may be missing.
 * @param written a member, including its name
 * @param other a member with another name, which comes last; undefined for none
 */
export function memberList(
  members: readonly Member[],
  comma: Pattern,
  written: (member: Member) => Pattern,
  other?: Pattern,
): Pattern {
  const more = other === undefined ? nothing : repeat(sequence(comma, other), 0, Infinity);
  // What may follow once something has been written, and before.
  let later = more;
  let first = other === undefined ? nothing : optionalPart(sequence(other, more));
  for (const member of members.toReversed()) {
    const here = written(member);
    const next = sequence(comma, here, later);
    const begun = sequence(here, later);
    first = member.required ? begun : anyOf(begun, first);
    later = member.required ? next : anyOf(next, later);
  }
  return first;
}

/**
 * An object: its properties in order; optional ones may be missing.
 * @param others values of properties with other names, which come last; undefined for none
 * @param name the others' names, if no property is named
 */
export function jsonObject(members: readonly Member[], others: Pattern | undefined, name = jsonString): Pattern {
  const comma = sequence(blanks, exactText(','), blanks);
  const after = (key: Pattern, value: Pattern): Pattern => sequence(key, exactText(':'), blanks, value);
  const unnamed = members.length === 0 ? name : otherName(members.map((member) => member.name));
  const other = others && after(unnamed, others);
  const written = ({ name, value }: Member): Pattern => after(exactText(JSON.stringify(name)), value);
  return sequence(exactText('{'), blanks, memberList(members, comma, written, other), blanks, exactText('}'));
}

/** A name other than these; without escapes until it differs from all of them. */
function otherName(names: readonly string[]): Pattern {
  const rest = sequence(repeat(stringCharacter, 0, Infinity), exactText('"'));
  const from = (endings: readonly (readonly number[])[]): Pattern => {
    const byFirst = new Map<number, number[][]>();
    for (const [head, ...rest] of endings)
      if (head !== undefined) byFirst.set(head, [...(byFirst.get(head) ?? []), rest]);
    const heads = [...byFirst.keys()].map((head): CodePoints => [head, head]);
    const options: Pattern[] = [sequence(character(...common(plainCharacters, allBut(heads))), rest)];
    for (const [head, tails] of byFirst) {
      if (common(plainCharacters, [[head, head]]).length === 0) continue;
      options.push(sequence(character([head, head]), from(tails)));
    }
    if (!endings.some((ending) => ending.length === 0)) options.push(exactText('"'));
    return anyOf(...options);
  };
  return sequence(exactText('"'), from(names.map((name) => Array.from(name, (letter) => letter.codePointAt(0) ?? 0))));
}

/** Any of the existing patterns; undefined for none. */
function someOf(...options: readonly (Pattern | undefined)[]): Pattern | undefined {
  const possible = options.filter((option) => option !== undefined);
  return possible.length === 0 ? undefined : anyOf(...possible);
}

/**
 * Numbers with at most 15 digits, and a fraction that does not end in zero.
 * @param places most digits of the fraction
 * @param least in units of the last place, like `most`; each possibly infinite
 */
export function numberBetween(least: number, most: number, places: number): Pattern | undefined {
  // Excludes -0, which is 0.
  const negative = digitsBetween(Math.max(1, -most), -least, places);
  return someOf(negative && sequence(exactText('-'), negative), digitsBetween(Math.max(0, least), most, places));
}

function digitsBetween(least: number, most: number, places: number): Pattern | undefined {
  const ofLength = (length: number): Pattern | undefined => {
    const low = Math.max(least, length === 1 ? 0 : 10 ** (length - 1 + places));
    const digits = length + places;
    if (low > most || low >= 10 ** digits) return undefined;
    const high = most < 10 ** digits ? String(most) : '9'.repeat(digits);
    return sameLength(String(low).padStart(digits, '0'), high.padStart(digits, '0'), places);
  };
  return someOf(...Array.from({ length: 15 }, (_, index) => ofLength(index + 1)));
}

/** The digits from `low` to `high`, and a point before the last `places`. @param before the digit before them */
function sameLength(low: string, high: string, places: number, before = 0): Pattern | undefined {
  const left = low.length;
  const mayEnd = left === places || (left < places && before > 0);
  const end = mayEnd && Number(low) === 0 ? nothing : undefined;
  if (left === 0) return end;
  const point = left === places ? exactText('.') : nothing;
  const [zeros, nines] = ['0'.repeat(left - 1), '9'.repeat(left - 1)];
  if (low === `0${zeros}` && high === `9${nines}`) {
    if (left <= places) return someOf(end, sequence(point, repeat(digit, 0, left - 1), digitButZero));
    const fraction = sameLength('0'.repeat(places), '9'.repeat(places), places) ?? nothing;
    return sequence(repeat(digit, left - places, left - places), fraction);
  }
  const put = (first: number, last: number, from: string, to: string): Pattern | undefined => {
    const rest = first <= last ? sameLength(from, to, places, first) : undefined;
    return rest && sequence(point, character([0x30 + first, 0x30 + last]), rest);
  };
  const [first, last] = [Number(low[0]), Number(high[0])];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (first === last) return someOf(end, put(first, first, lowRest, highRest));
  const between = put(first + 1, last - 1, zeros, nines);
  return someOf(end, put(first, first, lowRest, nines), between, put(last, last, zeros, highRest));
}
