/** Parsing the JSON files of a model: strict UTF-8, one object at the top, and where it matters no key twice. */
import { LinnetError } from '../errors.ts';
import { findDuplicateKey } from './duplicate-keys.ts';
import { checkJsonLimits, type JsonLimits } from './json-limits.ts';
import { quoteName } from './name-list.ts';

/** A parsed JSON object whose values are still to be checked. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a parsed value is an object, not null or an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text as JSON. @param label name of the text, the subject of the error message @throws LinnetError `FORMAT` */
export function parseJson(text: string, label: string): unknown {
  return attempt((): unknown => JSON.parse(text), `${label} is not valid JSON`);
}

/**
 * Parses bytes that must hold one JSON object.
 * @param label name of the bytes, the subject of error messages
 * @param options.uniqueKeys refuse an object, at any depth, that holds a key twice
 * @param options.limits see there; checked before anything is parsed
 * @throws LinnetError `FORMAT`
 */
export function parseJsonObject(
  bytes: Uint8Array,
  label: string,
  { uniqueKeys = false, limits }: { uniqueKeys?: boolean; limits?: JsonLimits } = {},
): JsonObject {
  checkJsonLimits(bytes, label, limits);
  const text = attempt(
    () => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes),
    `${label} is not valid UTF-8`,
  );
  const value = parseJson(text, label);
  if (!isJsonObject(value)) throw new LinnetError('FORMAT', `${label} is not a JSON object`);
  const duplicate = uniqueKeys ? findDuplicateKey(text) : undefined;
  if (duplicate !== undefined) {
    throw new LinnetError('FORMAT', `${label} holds the key ${quoteName(duplicate)} twice in one object`);
  }
  return value;
}

function attempt<T>(parse: () => T, failure: string): T {
  try {
    return parse();
  } catch (cause) {
    throw new LinnetError('FORMAT', failure, { cause });
  }
}
