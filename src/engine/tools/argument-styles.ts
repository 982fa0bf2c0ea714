/**
 * How arguments are written in a call: as JSON, as keyword arguments of Python, or in tags. Each style has the pattern of a
 * schema's arguments, the reader that finds where they end and makes JSON of them, and the writer.
 */
import { memberList, type Member } from '../../decoding/constraints/json-patterns.ts';
import { schemaMembers, schemaPattern } from '../../decoding/constraints/json-schema.ts';
import {
  allBut,
  anyOf,
  character,
  exactText,
  nothing,
  type Pattern,
  repeat,
  rule,
  sequence,
  spans,
  textUntil,
} from '../../decoding/constraints/pattern.ts';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';

export interface ArgumentStyle {
  /** @throws LinnetError `INPUT` for a schema that the style cannot hold a text to */
  pattern(schema: JsonObject, rules: Map<string, Pattern>, scope: string): Pattern;
  reader(schema: JsonObject): ArgumentReader;
  /** @param json an object as JSON */
  write(json: string): string;
}

/** Reads the arguments of one call out of a growing text. */
export interface ArgumentReader {
  /**
   * @param text all that follows the call's beginning and has not been taken yet
   * @returns the characters taken, the JSON that they gave, and whether the arguments have ended
   */
  read(text: string): { readonly taken: number; readonly json: string; readonly ended: boolean };
}

/** Where a value of JSON, or of Python's literals, ends: brackets and strings are counted over the pieces of a text. */
class ValueScan {
  depth = 0;
  inString = false;
  #escaped = false;

  next(letter: string): void {
    if (this.inString) {
      if (this.#escaped) this.#escaped = false;
      else if (letter === '\\') this.#escaped = true;
      else if (letter === '"') this.inString = false;
    } else if (letter === '"') this.inString = true;
    else if ('{['.includes(letter)) this.depth++;
    else if ('}]'.includes(letter)) this.depth--;
  }
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

const pythonWords: ReadonlyMap<string, string> = new Map([
  ['true', 'True'],
  ['false', 'False'],
  ['null', 'None'],
]);
const jsonWords = new Map(Array.from(pythonWords, ([json, python]) => [python, json]));

/** A value with some words outside its strings replaced. */
function withWords(value: string, words: ReadonlyMap<string, string>): string {
  let inString = false;
  return value.replace(/\\.|"|[A-Za-z]+/g, (part) => {
    if (part === '"') inString = !inString;
    return inString ? part : (words.get(part) ?? part);
  });
}

/** Begins the names of rules whose patterns are of Python: those of JSON stay for texts that are no calls. */
const pythonRules = 'python ';

/** A pattern in which words of JSON are those of Python. */
function inPython(pattern: Pattern): Pattern {
  if (pattern.kind === 'text') return exactText(withWords(pattern.text, pythonWords));
  if (pattern.kind === 'sequence') return { ...pattern, parts: pattern.parts.map(inPython) };
  if (pattern.kind === 'choice') return { ...pattern, options: pattern.options.map(inPython) };
  if (pattern.kind === 'rule') return rule(pythonRules + pattern.name);
  return pattern.kind === 'repeat' ? { ...pattern, part: inPython(pattern.part) } : pattern;
}

export const pythonArguments: ArgumentStyle = {
  pattern(schema, rules, scope) {
    const members = checkNames(schemaMembers(schema, rules, scope), /^[^\s=,()[\]{}<>"']{1,256}$/);
    const own = [...rules].filter(([name]) => !name.startsWith(pythonRules));
    for (const [name, pattern] of own) rules.set(pythonRules + name, inPython(pattern));
    return memberList(members, exactText(', '), ({ name, value }) => sequence(exactText(`${name}=`), inPython(value)));
  },
  reader() {
    const scan = new ValueScan();
    let taken = 0;
    return {
      read(text) {
        while (taken < text.length && (scan.inString || scan.depth > 0 || text[taken] !== ')'))
          scan.next(text[taken++]);
        if (taken === text.length) return { taken: 0, json: '', ended: false };
        const members = splitMembers(text.slice(0, taken));
        const json = members.map(([name, value]) => `${JSON.stringify(name)}: ${withWords(value, jsonWords)}`);
        return { taken, json: `{${json.join(', ')}}`, ended: true };
      },
    };
  },
  write: (json) =>
    entriesOf(json)
      .map(([name, value]) => `${name}=${withWords(spaced(value), pythonWords)}`)
      .join(', '),
};

/** @throws LinnetError `INPUT` for a name that cannot be written without quotes */
function checkNames(members: readonly Member[], writable: RegExp): readonly Member[] {
  const odd = members.find(({ name }) => !writable.test(name));
  if (odd === undefined) return members;
  throw new LinnetError(
    'INPUT',
    `this format has no way to write the parameter ${JSON.stringify(odd.name.slice(0, 60))}`,
  );
}

/** `a=1, b="x"` as names and values. */
function splitMembers(text: string): [name: string, value: string][] {
  const scan = new ValueScan();
  const parts = [''];
  for (const letter of text) {
    if (letter === ',' && scan.depth === 0 && !scan.inString) parts.push('');
    else parts[parts.length - 1] += letter;
    scan.next(letter);
  }
  return parts
    .filter((part) => part.trim() !== '')
    .map((part) => {
      const equals = part.indexOf('=');
      return [part.slice(0, equals).trim(), part.slice(equals + 1)];
    });
}

/** How a parameter's value is written in its tag: a string as it is, a string with JSON's escapes, or JSON. */
type TagValue = 'raw' | 'escaped' | 'json';

const tagBegin = '<parameter=';
const tagEnd = '\n</parameter>';

function tagValue(schema: unknown): TagValue {
  if (!isJsonObject(schema)) return 'json';
  const { enum: options, const: only, pattern, format, type } = schema;
  const listed: unknown = options ?? (only === undefined ? undefined : [only]);
  if (Array.isArray(listed)) {
    return listed.every((option) => typeof option === 'string' && !/[\n<]/.test(option)) ? 'raw' : 'json';
  }
  if (type !== 'string' || ['anyOf', 'oneOf', 'allOf', '$ref'].some((name) => Object.hasOwn(schema, name)))
    return 'json';
  return pattern === undefined && format === undefined ? 'raw' : 'escaped';
}

/** The value and the end of its tag. */
function taggedValue({ value }: Member, schema: unknown, rules: Map<string, Pattern>): Pattern {
  const kind = tagValue(schema);
  const end = exactText(tagEnd);
  if (kind === 'json' || !isJsonObject(schema)) return sequence(value, end);
  if (kind === 'escaped') return sequence(unquoted(value), end);
  const { enum: options, const: only, minLength = 0, maxLength = Infinity } = schema;
  const listed: unknown = options ?? (only === undefined ? undefined : [only]);
  if (Array.isArray(listed)) return sequence(anyOf(...listed.map((option) => exactText(String(option)))), end);
  if (minLength === 0 && maxLength === Infinity) return textUntil(tagEnd, { after: nothing, rules, name: 'tagged' });
  return sequence(repeat(character(...allBut(spans('\n\n', '<<'))), Number(minLength), Number(maxLength)), end);
}

/** A string's pattern without its quotes. */
function unquoted(pattern: Pattern): Pattern {
  return pattern.kind === 'sequence' ? sequence(...pattern.parts.slice(1, -1)) : pattern;
}

function propertiesOf({ properties }: JsonObject): JsonObject {
  return isJsonObject(properties) ? properties : {};
}

export const tagArguments: ArgumentStyle = {
  pattern(schema, rules, scope) {
    const properties = propertiesOf(schema);
    const members = checkNames(schemaMembers(schema, rules, scope), /^[^\s=,()<>"']{1,256}$/);
    return memberList(members, nothing, (member) =>
      sequence(
        exactText(`${tagBegin}${member.name}>\n`),
        taggedValue(member, properties[member.name], rules),
        exactText('\n'),
      ),
    );
  },
  reader(schema) {
    const properties = propertiesOf(schema);
    const close = `${tagEnd}\n`;
    let count = 0;
    /** Characters of the text in which no value ends. */
    let searched = 0;
    return {
      read(text) {
        let taken = 0;
        let json = '';
        for (;;) {
          const head = text.slice(taken, taken + tagBegin.length);
          const ended = head !== '' && !tagBegin.startsWith(head);
          const named = head === tagBegin ? text.indexOf('>\n', taken) : -1;
          const end = named < 0 ? -1 : text.indexOf(close, Math.max(named + 2, searched));
          if (end < 0) {
            searched = Math.max(0, text.length - taken - close.length);
            if (ended) json += count === 0 ? '{}' : '}';
            return { taken, json, ended };
          }
          const name = text.slice(taken + tagBegin.length, named);
          const value = valueJson(text.slice(named + 2, end), tagValue(properties[name]));
          json += `${count++ === 0 ? '{' : ', '}${JSON.stringify(name)}: ${value}`;
          taken = end + close.length;
        }
      },
    };
  },
  write: (json) =>
    entriesOf(json)
      .map(([name, value]) => `${tagBegin}${name}>\n${typeof value === 'string' ? value : spaced(value)}${tagEnd}\n`)
      .join(''),
};

function valueJson(value: string, kind: TagValue): string {
  if (kind === 'raw') return JSON.stringify(value);
  return kind === 'escaped' ? `"${value}"` : value;
}

/** The entries of an object in JSON; none of anything else. */
function entriesOf(json: string): [string, unknown][] {
  try {
    const value: unknown = JSON.parse(json);
    return isJsonObject(value) ? Object.entries(value) : [];
  } catch {
    return [];
  }
}

/** JSON as Python writes it: a blank after commas and colons. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (!isJsonObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, entry]) => `${JSON.stringify(name)}: ${spaced(entry)}`)
    .join(', ')}}`;
}
