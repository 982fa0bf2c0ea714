/** Text methods in templates with Python's behavior, where the template library differs or has no bounds. */
import { Environment, type RuntimeValue } from '@huggingface/jinja';
import { pythonSpace } from './python-text.ts';

type TextMethod = (text: string, given: readonly unknown[], most: number) => string;

const methods: Readonly<Record<string, TextMethod>> = {
  strip: (text, [characters]) => stripped(text, characters, true, true),
  lstrip: (text, [characters]) => stripped(text, characters, true, false),
  rstrip: (text, [characters]) => stripped(text, characters, false, true),
  replace: replaced,
};

/** Gives a text this file's methods. @param most characters of a text that a method makes */
export function setMethod(value: RuntimeValue, name: unknown, most: number): void {
  const { value: text, builtins } = value;
  if (typeof text !== 'string' || typeof name !== 'string' || !Object.hasOwn(methods, name)) return;
  builtins.set(
    name,
    new Environment().set(name, (...given: readonly unknown[]) => methods[name](text, given, most)),
  );
}

/** `str.strip(chars)` and its halves: without characters, or with None, removes white space. */
function stripped(text: string, characters: unknown, atStart: boolean, atEnd: boolean): string {
  if (!(characters === undefined || characters === null || typeof characters === 'string')) {
    throw new Error('strip takes a text of characters');
  }
  const goes = typeof characters === 'string' ? new Set(characters) : spaces;
  const letters = Array.from(text);
  let [from, to] = [0, letters.length];
  while (atStart && from < to && goes.has(letters[from])) from++;
  while (atEnd && from < to && goes.has(letters[to - 1])) to--;
  return from === 0 && to === letters.length ? text : letters.slice(from, to).join('');
}

const space = new RegExp(`[${pythonSpace}]`, 'u');
const spaces = { has: (letter: string): boolean => space.test(letter) };

/** `str.replace(old, new, count)`. */
function replaced(text: string, given: readonly unknown[], most: number): string {
  const named = given.find((argument) => argument instanceof Map);
  const [old, fresh, limit = countOf(named)] = given.filter((argument) => argument !== named);
  if (typeof old !== 'string' || typeof fresh !== 'string') throw new Error('replace takes two texts');
  if (!(limit === undefined || limit === null || typeof limit === 'number')) throw new Error('replace takes a number');
  const times = typeof limit === 'number' && limit >= 0 ? limit : Infinity;
  const pieces = old === '' ? ['', ...Array.from(text), ''] : text.split(old);
  const made = Math.min(times, pieces.length - 1);
  if (text.length + made * fresh.length > most) throw new Error(`it makes a text of more than ${most} characters`);
  return (
    pieces.slice(0, made + 1).join(fresh) +
    pieces
      .slice(made + 1)
      .map((piece) => old + piece)
      .join('')
  );
}

function countOf(named: unknown): unknown {
  const count: unknown = named instanceof Map ? named.get('count') : undefined;
  return typeof count === 'object' && count !== null && 'value' in count ? count.value : undefined;
}
