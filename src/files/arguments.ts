/**
 * Argument checks for callers in plain JavaScript, whom types do not protect: a wrong value would fail far from its cause, as
 * "x.map is not a function", or not at all.
 */
import { type ErrorCode, LinnetError } from '../errors.ts';
import { nearName } from './name-list.ts';
import type { JsonObject } from './json-object.ts';

/** A value in messages: its type, and a little of its content. */
function described(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'string')
    return value === '' ? 'an empty text' : `the text ${JSON.stringify(value.slice(0, 40))}`;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  if (value === undefined) return 'undefined';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function wrong(name: string, value: unknown, expected: string): LinnetError {
  return new LinnetError('INPUT', `${name} is ${described(value)}, expected ${expected}`);
}

/** @throws LinnetError `INPUT` unless the value is a string */
export function requireText(value: unknown, name: string): asserts value is string {
  if (typeof value !== 'string') throw wrong(name, value, 'a text');
}

/** @throws LinnetError `INPUT` unless the value is a non-empty string */
export function requirePath(value: unknown, name: string): asserts value is string {
  if (typeof value !== 'string' || value === '' || value.includes('\0')) throw wrong(name, value, 'a path');
}

/** @throws LinnetError `INPUT` unless the value is a list of strings */
export function requireTexts(value: unknown, name: string): asserts value is readonly string[] {
  if (!Array.isArray(value)) throw wrong(name, value, 'a list of texts');
  for (const [index, text] of value.entries()) requireText(text, `${name}[${index}]`);
}

/** An option's kind: words to choose from, or a check; `true` accepts anything. */
export type OptionKind = true | readonly string[] | ((value: unknown, name: string) => void);

/**
 * Undefined passes, also as the value of an option: options may be left out.
 * @param kinds by option
 * @param known every option's name as a key; without it any name passes
 * @throws LinnetError `INPUT` for anything but a plain object, an unknown option, and an option of the wrong kind
 */
export function requireOptions(
  value: unknown,
  name: string,
  kinds: Readonly<Record<string, OptionKind>> = {},
  known?: JsonObject,
): void {
  if (value === undefined) return;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, value, 'an object');
  if (known !== undefined) {
    const names = Object.keys(known);
    const strange = Object.keys(value).find((key) => !names.includes(key));
    if (strange !== undefined) {
      const meant = nearName(strange, names);
      const hint = meant === undefined ? `expected some of ${names.join(', ')}` : `did you mean ${meant}?`;
      throw new LinnetError('INPUT', `${name} have no ${JSON.stringify(strange.slice(0, 40))}; ${hint}`);
    }
  }
  for (const [option, kind] of Object.entries(kinds)) {
    const given: unknown = Reflect.get(value, option);
    if (given === undefined || kind === true) continue;
    if (typeof kind === 'function') kind(given, option);
    else requireOneOf(given, option, kind);
  }
}

/** @throws LinnetError `INPUT` for a value that lacks one of the methods or fields that identify its kind */
export function requireKind(
  value: unknown,
  name: string,
  fields: readonly string[],
  expected: string,
): asserts value is object {
  if (typeof value !== 'object' || value === null) throw wrong(name, value, expected);
  for (const field of fields) if (!(field in value)) throw wrong(name, value, expected);
}

/** @throws LinnetError with `code` unless the value is a whole number of at least `least` */
export function requireCount(
  value: unknown,
  name: string,
  least = 1,
  code: ErrorCode = 'INPUT',
): asserts value is number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return;
  throw new LinnetError(code, `${name} is ${described(value)}, expected a whole number of at least ${least}`);
}

/** `requireCount` from 0 on. */
export function requireWhole(value: unknown, name: string): void {
  requireCount(value, name, 0);
}

/** Undefined passes. @throws LinnetError `INPUT` unless the value is one of the words */
export function requireOneOf(value: unknown, name: string, words: readonly string[]): void {
  if (value === undefined || (typeof value === 'string' && words.includes(value))) return;
  throw wrong(name, value, `one of ${words.join(', ')}`);
}

/** @throws LinnetError `INPUT` unless the value is a function */
export function requireFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw wrong(name, value, 'a function');
}

/**
 * Token ids as numbers. The engine checks them against the vocabulary.
 * @throws LinnetError `INPUT` unless the value is a list or typed array of whole numbers ≥ 0
 */
export function requireTokens(value: unknown, name: string): number[] {
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isList) throw wrong(name, value, 'a list or typed array of token ids');
  const tokens: number[] = [];
  for (const token of Array.from(value as ArrayLike<unknown>)) {
    const isToken = typeof token === 'number' && Number.isSafeInteger(token) && token >= 0;
    if (!isToken) throw wrong(`${name}[${tokens.length}]`, token, 'a token id');
    tokens.push(token);
  }
  return tokens;
}

/** Numbers; the caller checks their range. @throws LinnetError `INPUT` unless the value is a list of numbers */
export function requireNumbers(value: unknown, name: string): number[] {
  if (!Array.isArray(value)) throw wrong(name, value, 'a list of numbers');
  return value.map((item: unknown, index) => {
    if (typeof item === 'number') return item;
    throw wrong(`${name}[${index}]`, item, 'a number');
  });
}

/** @throws LinnetError `INPUT` for values that cannot be iterated over, and for strings */
export function requireIterable(value: unknown, name: string): void {
  if (typeof value === 'object' && value !== null && Symbol.iterator in value) return;
  throw wrong(name, value, 'a list');
}
