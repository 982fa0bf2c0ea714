/** English number words in a text, as digits: "twenty-three" is 23. */

const units = [
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen',
  'eighteen nineteen',
]
  .join(' ')
  .split(' ');
const tens = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');

const values: ReadonlyMap<string, number> = new Map<string, number>([
  ...units.map((word, value): [string, number] => [word, value]),
  ...tens.map((word, index): [string, number] => [word, 20 + 10 * index]),
  ['hundred', 100],
  ['thousand', 1e3],
  ['million', 1e6],
  ['billion', 1e9],
]);

/** Powers that split a number into parts of up to three digits, largest first. */
const scales = ['billion', 'million', 'thousand'] as const;

/** Longer words first, so that "sixteen" is not read as "six". Words match anywhere, even inside others. */
const anyWord = [...values.keys(), 'trillion'].sort((a, b) => b.length - a.length).join('|');
const phrase = new RegExp(`(?:(?:${anyWord})(?:${anyWord}|[^\\S\\r\\n]|,|and|&)*)?(?:${anyWord})`, 'g');

/**
 * A number written in words. @param select which phrase counts, 0 the first, −1 the last
 * @returns its digits; undefined if no words make a number
 */
export function parseNumber(text: string, select: number): string | undefined {
  const found = (text.toLowerCase().match(phrase) ?? []).at(select);
  const value = found === undefined ? undefined : valueOf(found);
  return value === undefined ? undefined : String(value);
}

function valueOf(text: string): number | undefined {
  let rest = text
    .replaceAll('-', ' ')
    .split(/\s+/)
    .filter((word) => values.has(word));
  if (rest.length === 0) return undefined;
  if (rest.length === 1) return values.get(rest[0]);
  let total = 0;
  for (const scale of scales) {
    const at = rest.indexOf(scale);
    if (at < 0) continue;
    total += part(rest.slice(0, at)) * (values.get(scale) ?? 0);
    rest = rest.slice(at + 1);
  }
  return total + part(rest);
}

/** Up to four words below a thousand: "two hundred forty one". Longer texts count as 0. */
function part(text: readonly string[]): number {
  const numbers = text.map((word) => values.get(word) ?? 0);
  const [first = 0, second = 0, third = 0, fourth = 0] = numbers;
  if (numbers.length === 4) return first * second + third + fourth;
  if (numbers.length === 3) return first * second + third;
  if (numbers.length === 2) return numbers.includes(100) ? first * second : first + second;
  return first;
}
