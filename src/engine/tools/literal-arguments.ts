/** Arguments as values of a language: Python's keyword arguments, and Gemma's objects with their own string marks. */
import {
  type Pattern,
  allBut,
  anyOf,
  character,
  exactText,
  repeat,
  rule,
  sequence,
  spans,
} from '../../decoding/constraints/pattern.ts';
import { isJsonObject } from '../../files/json-object.ts';
import {
  type ArgumentStyle,
  bareValue,
  argumentEntries,
  listedValues,
  membersPattern,
  propertiesOf,
  rawString,
  spacedJson,
} from './argument-styles.ts';
import { LiteralReader } from './literal-reader.ts';

const pythonWords: ReadonlyMap<string, string> = new Map([
  ['true', 'True'],
  ['false', 'False'],
  ['null', 'None'],
]);
const jsonWords = new Map(Array.from(pythonWords, ([json, python]) => [python, json]));

/** A value with Python's words instead of JSON's outside strings. */
function inPythonWords(value: string): string {
  let inString = false;
  return value.replace(/\\.|"|[A-Za-z]+/g, (part) => {
    if (part === '"') inString = !inString;
    return inString ? part : (pythonWords.get(part) ?? part);
  });
}

/** Prefix of rules with Python's patterns: JSON's remain for texts that are not calls. */
const pythonRules = 'python ';

/** A pattern with Python's words instead of JSON's. */
function inPython(pattern: Pattern): Pattern {
  if (pattern.kind === 'text') return exactText(inPythonWords(pattern.text));
  if (pattern.kind === 'sequence') return { ...pattern, parts: pattern.parts.map(inPython) };
  if (pattern.kind === 'choice') return { ...pattern, options: pattern.options.map(inPython) };
  if (pattern.kind === 'rule') return rule(pythonRules + pattern.name);
  return pattern.kind === 'repeat' ? { ...pattern, part: inPython(pattern.part) } : pattern;
}

const pythonNames = /^[^\s=,()[\]{}<>"']{1,256}$/;
/** Texts that a string without escapes cannot contain. */
const unquotable = /[\\"']/;

/** A string in one kind of quotes that escapes only the quote: a backslash stays, with its next character. */
function verbatimString(quote: string, least: number, most: number): Pattern {
  const plain = character(...allBut(spans(quote + quote, '\\\\')));
  const pair = sequence(exactText('\\'), character(...allBut([])));
  const isBounded = least > 0 || most < Infinity;
  return sequence(exactText(quote), repeat(isBounded ? plain : anyOf(plain, pair), least, most), exactText(quote));
}

function verbatimValue(schema: unknown): Pattern {
  const { minLength = 0, maxLength = Infinity } = isJsonObject(schema) ? schema : {};
  const listed = isJsonObject(schema) ? listedValues(schema) : undefined;
  if (listed !== undefined) return anyOf(...listed.map((option) => exactText(JSON.stringify(option))));
  const [least, most] = [Number(minLength), Number(maxLength)];
  return anyOf(verbatimString('"', least, most), verbatimString("'", least, most));
}

/** A string as LFM2 writes it: in quotes, nothing escaped, as far as that can be read back. */
function verbatim(text: string): string {
  if (!text.includes('"')) return `"${text}"`;
  return text.includes("'") ? `"${text.replaceAll('"', '\\"')}"` : `'${text}'`;
}

/**
 * `a=1, b="x"`, up to the bracket after them.
 * @param isVerbatim whether strings have no escapes, except inside other values
 */
export function pythonArguments(isVerbatim: boolean): ArgumentStyle {
  return {
    pattern(schema, rules, scope) {
      const members = membersPattern([schema, rules, scope], pythonNames, exactText(', '), ({ name, value }, own) => {
        const isRaw = isVerbatim && bareValue(own, unquotable) === 'raw';
        return sequence(exactText(`${name}=`), isRaw ? verbatimValue(own) : inPython(value));
      });
      const json = [...rules].filter(([name]) => !name.startsWith(pythonRules));
      for (const [name, pattern] of json) rules.set(pythonRules + name, inPython(pattern));
      return members;
    },
    reader(schema) {
      const properties = propertiesOf(schema);
      return new LiteralReader({
        quotes: ['"', "'"],
        words: jsonWords,
        equals: '=',
        close: ')',
        isVerbatim: (name) =>
          isVerbatim && (!Object.hasOwn(properties, name) || bareValue(properties[name], unquotable) === 'raw'),
      });
    },
    write: (json) =>
      argumentEntries(json)
        .map(([name, value]) => {
          const isText = isVerbatim && typeof value === 'string';
          return `${name}=${isText ? verbatim(value) : inPythonWords(spacedJson(value))}`;
        })
        .join(', '),
  };
}

/**
 * `a:1,b:…x…`, up to the brace after them.
 * @param quote marks strings, in which nothing is escaped
 */
export function gemmaArguments(quote: string): ArgumentStyle {
  const marks = { open: quote, close: quote, name: 'marked', excluded: spans('<<') };
  const unwritable = new RegExp(quote.replaceAll(/[|]/g, '\\|'));
  const written = (value: unknown): string => {
    if (typeof value === 'string') return `${quote}${value}${quote}`;
    if (Array.isArray(value)) return `[${value.map(written).join(',')}]`;
    if (!isJsonObject(value)) return JSON.stringify(value);
    return `{${members(Object.entries(value))}}`;
  };
  const members = (entries: readonly (readonly [string, unknown])[]): string =>
    entries.map(([name, value]) => `${name}:${written(value)}`).join(',');
  return {
    pattern: (schema, rules, scope) =>
      membersPattern([schema, rules, scope], /^[^\s:=,()[\]{}<>"']{1,256}$/, exactText(','), ({ name, value }, own) => {
        const isRaw = isJsonObject(own) && bareValue(own, unwritable) === 'raw';
        return sequence(exactText(`${name}:`), isRaw ? rawString(own, rules, marks) : value);
      }),
    reader: () => new LiteralReader({ quotes: ['"'], rawQuotes: [quote], equals: ':', close: '}' }),
    write: (json) => members(argumentEntries(json)),
  };
}
