/**
 * Styles of writing a call's arguments. Each has a pattern for a schema's arguments, a reader that finds their end and turns
 * them into JSON, and a writer. Here: JSON itself, and what all styles share.
 */
import {
  allBut,
  anyOf,
  character,
  type CodePoints,
  exactText,
  type Member,
  memberList,
  nothing,
  type Pattern,
  repeat,
  sequence,
  textUntil,
} from '../../decoding/constraints/pattern.ts';
import { schemaMembers, schemaPattern } from '../../decoding/constraints/json-schema.ts';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, jsonIn, type JsonObject } from '../../files/json-object.ts';
import { ValueScan } from './call-object.ts';

export interface ArgumentStyle {
  /** @throws LinnetError `INPUT` for a schema that the style cannot express */
  pattern(schema: JsonObject, rules: Map<string, Pattern>, scope: string): Pattern;
  reader(schema: JsonObject): ArgumentReader;
  /** @param json an object as JSON */
  write(json: string): string;
}

/** Reads one call's arguments from a growing text, including what closes them. */
export interface ArgumentReader {
  /**
   * @param text everything after the call's beginning that has not been taken yet
   * @returns the characters taken, their JSON, and whether the arguments have ended
   */
  read(text: string): { readonly taken: number; readonly json: string; readonly ended: boolean };
}

export const jsonArguments: ArgumentStyle = {
  pattern: (schema, rules, scope) => schemaPattern(schema, rules, scope),
  reader() {
    const scan = new ValueScan();
    return {
      read(text) {
        for (let taken = 0; taken < text.length; taken++) {
          scan.next(text[taken]);
          if (scan.depth === 0 && !scan.inString && '}]'.includes(text[taken])) {
            return { taken: taken + 1, json: text.slice(0, taken + 1), ended: true };
          }
        }
        return { taken: text.length, json: text, ended: false };
      },
    };
  },
  write: (json) => json,
};

/**
 * The pattern for an object's members, from each member and its schema.
 * @throws LinnetError `INPUT` for a name that cannot be written without quotes
 */
export function membersPattern(
  [schema, rules, scope]: Parameters<ArgumentStyle['pattern']>,
  writable: RegExp,
  between: Pattern,
  written: (member: Member, schema: unknown) => Pattern,
): Pattern {
  const properties = propertiesOf(schema);
  const members = schemaMembers(schema, rules, scope);
  const odd = members.find(({ name }) => !writable.test(name));
  if (odd === undefined) return memberList(members, between, (member) => written(member, properties[member.name]));
  throw new LinnetError(
    'INPUT',
    `this format has no way to write the parameter ${JSON.stringify(odd.name.slice(0, 60))}`,
  );
}

/** How a parameter's value is written outside JSON: a plain string, a string with JSON's escapes, or JSON. */
export type BareValue = 'raw' | 'escaped' | 'json';

/** @param unwritable texts of an enumeration that cannot be written plainly */
export function bareValue(schema: unknown, unwritable: RegExp): BareValue {
  if (!isJsonObject(schema)) return 'json';
  const { pattern, format, type } = schema;
  const listed = listedValues(schema);
  if (listed !== undefined) {
    return listed.every((option) => typeof option === 'string' && !unwritable.test(option)) ? 'raw' : 'json';
  }
  if (type !== 'string' || ['anyOf', 'oneOf', 'allOf', '$ref'].some((name) => Object.hasOwn(schema, name)))
    return 'json';
  return pattern === undefined && format === undefined ? 'raw' : 'escaped';
}

/**
 * The pattern for a string without escapes, including the marks around it.
 * @param name prefixes rule names
 * @param excluded characters that a string of bounded length cannot contain
 */
export function rawString(
  schema: JsonObject,
  rules: Map<string, Pattern>,
  { open, close, name, excluded }: Readonly<Record<'open' | 'close' | 'name', string>> & { excluded: CodePoints[] },
): Pattern {
  const { minLength = 0, maxLength = Infinity } = schema;
  const listed = listedValues(schema);
  if (listed !== undefined) return anyOf(...listed.map((option) => exactText(open + String(option) + close)));
  if (minLength === 0 && maxLength === Infinity) {
    return sequence(exactText(open), textUntil(close, { after: nothing, rules, name }));
  }
  const letters = repeat(character(...allBut(excluded)), Number(minLength), Number(maxLength));
  return sequence(exactText(open), letters, exactText(close));
}

/** The values that a schema lists; undefined if it lists none. */
export function listedValues({ enum: options, const: only }: JsonObject): readonly unknown[] | undefined {
  const listed: unknown = options ?? (only === undefined ? undefined : [only]);
  return Array.isArray(listed) ? (listed as readonly unknown[]) : undefined;
}

export function propertiesOf({ properties }: JsonObject): JsonObject {
  return isJsonObject(properties) ? properties : {};
}

/** The entries of a JSON object; none for anything else. */
export function argumentEntries(json: string): [string, unknown][] {
  const value = jsonIn(json);
  return isJsonObject(value) ? Object.entries(value) : [];
}

/** JSON in Python's format: a blank after commas and colons. */
export function spacedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spacedJson).join(', ')}]`;
  if (!isJsonObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, entry]) => `${JSON.stringify(name)}: ${spacedJson(entry)}`)
    .join(', ')}}`;
}
