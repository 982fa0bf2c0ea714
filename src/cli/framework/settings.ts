/** Names of options, and `--set key=value`: fields of a plan and, in this version, rare options by their keys. */
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import { nearName } from '../../files/name-list.ts';
import { UsageError } from './exit-codes.ts';

export interface SetField {
  readonly path: readonly string[];
  readonly value: unknown;
}

interface Settable {
  /** Rare options: whether each is a switch, takes one value or adds one to a list. */
  readonly kinds: Readonly<Record<string, 'none' | 'once' | 'each' | 'list'>>;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Reads `--set`: `a.b=1` sets a field of a, to JSON or a text; switches need no value. @throws UsageError */
export function readSettings(
  given: readonly string[],
  { kinds, fields }: Settable,
): { readonly options: Readonly<Record<string, unknown>>; readonly set: readonly SetField[] } {
  const options: Record<string, unknown> = {};
  const lists: Partial<Record<string, string[]>> = {};
  const set: SetField[] = [];
  for (const setting of given) {
    const at = setting.indexOf('=');
    const name = at < 0 ? setting : setting.slice(0, at);
    const value = at < 0 ? undefined : setting.slice(at + 1);
    const path = name.split('.');
    if (Object.hasOwn(kinds, name) && kinds[name] === 'none') options[name] = switchOf(value);
    else if (value === undefined) throw new UsageError(`--set is ${JSON.stringify(setting)}; expected key=value`);
    else if (Object.hasOwn(kinds, name)) {
      lists[name] = [...(lists[name] ?? []), value];
      options[name] = kinds[name] === 'once' ? value : lists[name];
    } else if (Object.hasOwn(fields, path[0])) set.push({ path, value: jsonOrText(value) });
    else {
      const near = nearName(name, Object.keys(fields));
      const meant = near === undefined ? '' : ` (did you mean ${near}?)`;
      throw new UsageError(`--set has no ${JSON.stringify(name)}${meant}; --help-all lists options`);
    }
  }
  return { options, set };
}

/** Anything but true and false is refused by the schema of the switch. */
function switchOf(value: string | undefined): boolean | string {
  if (value === undefined || value === 'true') return true;
  return value !== 'false' && value;
}

export function withField(plan: JsonObject, { path: [key, ...rest], value }: SetField): JsonObject {
  if (rest.length === 0) return { ...plan, [key]: value };
  const before = plan[key];
  return { ...plan, [key]: withField(isJsonObject(before) ? before : {}, { path: rest, value }) };
}

function jsonOrText(given: string): unknown {
  try {
    return JSON.parse(given);
  } catch {
    return given;
  }
}

/** `maxTokens` → `--max-tokens`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A text of the library with the names of the command line where it has keys in backquotes. @param nameOf undefined for other words */
export function inFlags(text: string, nameOf: (key: string) => string | undefined): string {
  return text.replace(/`(\w+)`/g, (quoted, key: string) => nameOf(key) ?? quoted);
}
