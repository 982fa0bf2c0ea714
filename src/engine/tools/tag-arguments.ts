/** Arguments in tags, `<parameter=city>Paris</parameter>`, up to the tag that closes the function. */
import { type Member, type Pattern, exactText, nothing, sequence, spans } from '../../decoding/constraints/pattern.ts';
import { isJsonObject, jsonIn, type JsonObject } from '../../files/json-object.ts';
import {
  type ArgumentStyle,
  bareValue,
  argumentEntries,
  membersPattern,
  propertiesOf,
  rawString,
  spacedJson,
} from './argument-styles.ts';

const tagBegin = '<parameter=';
const tagEnd = '\n</parameter>';
/** What may follow a parameter, after blanks. */
const followers = [tagBegin, '</function>', '</tool_call>'] as const;
const unwritable = /[\n<]/;

/** The value and its closing tag. */
function taggedValue({ value }: Member, schema: unknown, rules: Map<string, Pattern>): Pattern {
  const kind = bareValue(schema, unwritable);
  const end = exactText(tagEnd);
  if (kind === 'json' || !isJsonObject(schema)) return sequence(value, end);
  if (kind === 'escaped') return sequence(unquoted(value), end);
  return rawString(schema, rules, { open: '', close: tagEnd, name: 'tagged', excluded: spans('\n\n', '<<') });
}

/** A string's pattern without quotes. */
function unquoted(pattern: Pattern): Pattern {
  return pattern.kind === 'sequence' ? sequence(...pattern.parts.slice(1, -1)) : pattern;
}

export const tagArguments: ArgumentStyle = {
  pattern: (schema, rules, scope) =>
    membersPattern([schema, rules, scope], /^[^\s=,()<>"']{1,256}$/, nothing, (member, own) =>
      sequence(exactText(`${tagBegin}${member.name}>\n`), taggedValue(member, own, rules), exactText('\n')),
    ),
  reader(schema) {
    const properties = propertiesOf(schema);
    let count = 0;
    /** Characters of the current value that do not end it. */
    let searched = 0;
    return {
      read(text) {
        let taken = 0;
        let json = '';
        for (;;) {
          const at = taken + blanksAt(text, taken);
          const next = followerAt(text, at);
          if (next === undefined) return { taken, json, ended: false };
          if (next === tagBegin) {
            const named = text.indexOf('>', at);
            const value = named < 0 ? undefined : valueAt(text, named + 1, searched);
            if (value === undefined || 'searched' in value) {
              searched = value?.searched ?? 0;
              return { taken, json, ended: false };
            }
            const name = text.slice(at + tagBegin.length, named);
            const schema = Object.hasOwn(properties, name) ? properties[name] : undefined;
            json += `${count++ === 0 ? '{' : ', '}${JSON.stringify(name)}: ${valueJson(value.text, schema)}`;
            taken = value.end;
            searched = 0;
          } else if (next === '')
            taken = at + 1; // a letter without meaning here
          else {
            taken = at + (next === '</function>' ? next.length : 0);
            return { taken, json: json + (count === 0 ? '{}' : '}'), ended: true };
          }
        }
      },
    };
  },
  write: (json) =>
    argumentEntries(json)
      .map(
        ([name, value]) => `${tagBegin}${name}>\n${typeof value === 'string' ? value : spacedJson(value)}${tagEnd}\n`,
      )
      .join(''),
};

function blanksAt(text: string, at: number): number {
  let count = 0;
  while (/\s/.test(text[at + count] ?? '')) count++;
  return count;
}

/** What stands at a place: a follower, '' for none, undefined if more of the text must arrive first. */
function followerAt(text: string, at: number): (typeof followers)[number] | '' | undefined {
  const follower = followers.find((one) => text.startsWith(one, at));
  if (follower !== undefined) return follower;
  return followers.some((one) => one.startsWith(text.slice(at))) ? undefined : '';
}

/**
 * The value that begins at a place, and its tag's end. A value that begins on its own line also ends on one, so it may contain
 * the closing tag.
 * @param searched leading characters known not to contain the end
 */
function valueAt(
  text: string,
  from: number,
  searched: number,
): { readonly text: string; readonly end: number } | { readonly searched: number } {
  const isOwnLine = text[from] === '\n';
  const end = isOwnLine ? tagEnd : tagEnd.trimStart();
  for (let place = text.indexOf(end, from + searched); place >= 0; place = text.indexOf(end, place + 1)) {
    const after = place + end.length;
    const next = followerAt(text, after + blanksAt(text, after));
    if (next === undefined) return { searched: place - from };
    if (next === '') continue;
    const value = text.slice(from, place);
    return { text: isOwnLine ? value.slice(1) : value.replace(/\n$/, ''), end: after };
  }
  return { searched: text.length === from ? 0 : Math.max(0, text.length - from - end.length) };
}

/** A value's JSON; anything that does not fit its schema is a string. */
function valueJson(value: string, schema: unknown): string {
  const kind = schema === undefined ? 'raw' : bareValue(schema, unwritable);
  if (kind === 'raw') return JSON.stringify(value);
  const text = kind === 'escaped' ? `"${value}"` : value.trim();
  if (jsonIn(text) !== undefined) return text;
  const word = text.toLowerCase();
  if (kind === 'json' && ['null', 'true', 'false'].includes(word)) return word;
  if (kind === 'json' && numeric(schema) && /^-?[0-9]+$/.test(text)) return String(BigInt(text));
  return JSON.stringify(value);
}

function numeric(schema: unknown): boolean {
  const { type }: JsonObject = isJsonObject(schema) ? schema : {};
  return [type].flat().some((one) => one === 'integer' || one === 'number');
}
