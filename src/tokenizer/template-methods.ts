/** Text methods and filters in templates with Python's behavior, where the template library differs or has no bounds. */
import { Environment, type RuntimeValue } from '@huggingface/jinja';
import { pythonSpace, strip } from './python-text.ts';

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

/** Filters that write any value as a text. */
export const textFilters: Readonly<Record<string, (value: RuntimeValue) => string>> = {
  string: written,
  trim: (value) => strip(written(value)),
  upper: (value) => written(value).toUpperCase(),
  lower: (value) => written(value).toLowerCase(),
};

/** `str(value)`; an undefined one is empty. */
function written(runtime: RuntimeValue): string {
  const { type, value } = runtime;
  if (type === 'UndefinedValue') return '';
  return typeof value === 'string' ? value : shown(runtime);
}

/** `repr(value)`. */
function shown(runtime: unknown): string {
  if (!isRuntimeValue(runtime) || runtime.type === 'Namespace') throw new Error('Cannot convert a namespace to a text');
  const { type, value } = runtime;
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value === null || value === undefined) return 'None';
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`;
  if (value instanceof Map) {
    const entries: Iterable<readonly [unknown, unknown]> = value.entries();
    return `{${Array.from(entries, ([key, entry]) => `${quoted(String(key))}: ${shown(entry)}`).join(', ')}}`;
  }
  if (typeof value !== 'number') throw new Error('Cannot convert a function to a text');
  return type === 'FloatValue' && Number.isInteger(value) ? value.toFixed(1) : String(value);
}

export function isRuntimeValue(value: unknown): value is RuntimeValue {
  return typeof value === 'object' && value !== null && 'type' in value && 'value' in value;
}

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|['"]/gu, (letter) => {
    if (letter === "'" || letter === '"') return letter === mark ? `\\${letter}` : letter;
    return Object.hasOwn(shortEscapes, letter) ? shortEscapes[letter] : numericEscape(letter);
  });
  return mark + inner + mark;
}

const shortEscapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function numericEscape(letter: string): string {
  const code = (letter.codePointAt(0) ?? 0).toString(16);
  if (code.length <= 2) return `\\x${code.padStart(2, '0')}`;
  return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\U${code.padStart(8, '0')}`;
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
