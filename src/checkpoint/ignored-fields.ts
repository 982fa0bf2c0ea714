/** Leaves out fields of config.json during a call, for models whose owner knows that they change nothing. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { JsonObject } from '../files/json-object.ts';
import { withoutFields } from '../models/config-fields.ts';

const ignored = new AsyncLocalStorage<readonly string[]>();

/** Runs a function that opens models, ignoring these fields. @param names fields; `a.b` is field b of a */
export function ignoringFields<T>(names: readonly string[], run: () => T): T {
  return ignored.run(names, run);
}

/** A config.json without the ignored fields. */
export function withoutIgnored(config: JsonObject): JsonObject {
  return withoutFields(config, ignored.getStore() ?? []);
}
