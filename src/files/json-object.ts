/**
 * Parses a model's JSON files: strict UTF-8, one object at the top and, where it matters, no duplicate keys. One pass over
 * the bytes checks the bounds before a parser builds objects a thousand times their size.
 */
import { LinnetError, reasonOf } from '../errors.ts';
import { quoteName } from './name-list.ts';

/** A parsed JSON object whose values are still to be checked. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a parsed value is an object, not null or an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Parses a text as JSON, without its byte order mark.
 * @param label name of the text, the subject of the error message
 * @throws LinnetError `FORMAT`
 */
export function parseJson(text: string, label: string): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (cause) {
    throw new LinnetError('FORMAT', `${label} is not valid JSON: ${reasonOf(cause)}`, { cause });
  }
}

/** Parses a text; undefined if it is absent or not JSON. */
export function jsonIn(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Parses bytes that must hold one JSON object.
 * @param options.uniqueKeys refuse an object, at any depth, that holds a key twice
 * @throws LinnetError `FORMAT`
 */
export function parseJsonObject(
  bytes: Uint8Array,
  label: string,
  { uniqueKeys = false, limits }: { uniqueKeys?: boolean; limits?: JsonLimits } = {},
): JsonObject {
  checkJsonLimits(bytes, label, limits);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${label} is not valid UTF-8`, { cause });
  }
  const value = parseJson(text, label);
  if (!isJsonObject(value)) throw new LinnetError('FORMAT', `${label} is not a JSON object`);
  const duplicate = uniqueKeys ? findDuplicateKey(text) : undefined;
  if (duplicate !== undefined) {
    throw new LinnetError('FORMAT', `${label} holds the key ${quoteName(duplicate)} twice in one object`);
  }
  return value;
}

export interface JsonLimits {
  /** Deepest nesting of objects and arrays. Default 64: code that walks the parsed value may recurse. */
  readonly depth?: number;
  /** Most objects and arrays. Default 5·10⁶: a tokenizer of 500,000 merges, each a pair, has a tenth of that. */
  readonly containers?: number;
  /** Most values, keys not counted. Default 3·10⁷. */
  readonly values?: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Marks outside strings, by byte: 1 opens, 2 closes, 3 is a comma, 4 a quote. */
const markOf: Readonly<Record<number, number>> = { 0x5b: 1, 0x7b: 1, 0x5d: 2, 0x7d: 2, 0x2c: 3, [QUOTE]: 4 };

/**
 * Refuses a text beyond the bounds; the parser decides whether it is valid JSON. Linear in bytes, keeps nothing.
 * @throws LinnetError `FORMAT`
 */
export function checkJsonLimits(bytes: Uint8Array, label: string, limits: JsonLimits = {}): void {
  const { depth: deepest = 64, containers: mostContainers = 5e6, values: mostValues = 3e7 } = limits;
  const refuse = (what: string): never => {
    throw new LinnetError('FORMAT', `${label} ${what}, more than anything of its kind has; it is not read`);
  };
  let depth = 0;
  let containers = 0;
  let values = 0;
  const marks = Object.assign(new Uint8Array(256), markOf);
  for (let i = 0; i < bytes.length; i++) {
    const mark = marks[bytes[i]];
    if (mark === 0) continue;
    if (mark === 4) {
      for (i++; i < bytes.length && bytes[i] !== QUOTE; i++) if (bytes[i] === BACKSLASH) i++;
    } else if (mark === 1) {
      if (++depth > deepest) refuse(`is nested deeper than ${deepest} levels`);
      if (++containers > mostContainers) refuse(`has more than ${mostContainers} objects and lists`);
    } else if (mark === 2) {
      depth--;
    } else if (++values > mostValues) {
      refuse(`has more than ${mostValues} values`);
    }
  }
}

/**
 * JSON.parse silently keeps the last of two equal keys, so two readers of the same file can see different tensors under one
 * name; safetensors therefore forbids duplicates.
 * @param text has passed JSON.parse: the scanner relies on it being well-formed
 * @returns the first key that occurs twice in one object, after unescaping; undefined if none does. Linear time
 */
export function findDuplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // keys of each open object; undefined for an array
  let awaitingKey = false;
  for (let i = 0; i < text.length; i++) {
    const mark = text[i];
    if (mark === '"') {
      const end = endOfString(text, i);
      if (awaitingKey) {
        const key = decodeKey(text.slice(i, end + 1));
        const keys = open.at(-1);
        if (keys?.has(key)) return key;
        keys?.add(key);
        awaitingKey = false;
      }
      i = end;
    } else if (mark === '{' || mark === '[') {
      awaitingKey = mark === '{';
      open.push(awaitingKey ? new Set() : undefined);
    } else if (mark === '}' || mark === ']') {
      open.pop();
      awaitingKey = false;
    } else if (mark === ',') awaitingKey = open.at(-1) !== undefined;
  }
  return undefined;
}

/** Index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i;
}

function decodeKey(literal: string): string {
  return literal.includes('\\') ? String(JSON.parse(literal)) : literal.slice(1, -1);
}
