/** Free text up to a given one: a rule for each count of its characters that the text ends with, as of Knuth, Morris and Pratt. */
import { allBut, anyOf, character, type CodePoints, nothing, type Pattern, rule, sequence } from './pattern.ts';

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
