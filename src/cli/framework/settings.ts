/** Names of options, and fields of a plan that `--set key=value` sets. */
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import { nearName } from '../../files/name-list.ts';
import { UsageError } from './exit-codes.ts';

export interface SetField {
  readonly path: readonly string[];
  readonly value: unknown;
}

/**
 * Reads `--set`: `a.b=1` sets a field of a, to JSON or a text.
 * @param fields the plan's fields
 * @param nameOf maps an option's key to its flag
 * @throws UsageError
 */
export function readSettings(
  settings: readonly string[],
  fields: JsonObject,
  nameOf: (key: string) => string | undefined,
): SetField[] {
  return settings.map((setting) => {
    const [name] = setting.split('=', 1);
    const path = name.split('.');
    if (!Object.hasOwn(fields, path[0])) {
      const flag = nameOf(name);
      if (flag !== undefined) throw new UsageError(`--set sets fields of the plan; for this option, write ${flag}`);
      const near = nearName(name, Object.keys(fields));
      const meant = near === undefined ? '' : ` (did you mean ${near}?)`;
      throw new UsageError(`--set has no ${JSON.stringify(name)}${meant}; --help-all lists options`);
    }
    if (name === setting) throw new UsageError(`--set is ${JSON.stringify(setting)}; expected key=value`);
    return { path, value: jsonOrText(setting.slice(name.length + 1)) };
  });
}

export function withField(plan: JsonObject, { path: [key, ...rest], value }: SetField): JsonObject {
  if (rest.length === 0) return { ...plan, [key]: value };
  const before = plan[key];
  return { ...plan, [key]: withField(isJsonObject(before) ? before : {}, { path: rest, value }) };
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** `maxTokens` → `--max-tokens`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Replaces keys in backquotes by their flags in a library text. @param nameOf undefined for other words */
export function inFlags(text: string, nameOf: (key: string) => string | undefined): string {
  return text.replace(/`(\w+)`/g, (quoted, key: string) => nameOf(key) ?? quoted);
}
