/** Fields of config.json that are left out while something runs, for models whose owner knows that they change nothing. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { JsonObject } from '../files/json-object.ts';
import { withoutFields } from '../models/config-fields.ts';

const ignored = new AsyncLocalStorage<readonly string[]>();

/** Runs a function that opens models, without these fields of theirs. @param names fields; `a.b` is field b of a */
export function ignoringFields<T>(names: readonly string[], run: () => T): T {
  return ignored.run(names, run);
}

/** A config.json as it is read where fields are left out. */
export function withoutIgnored(config: JsonObject): JsonObject {
  return withoutFields(config, ignored.getStore() ?? []);
}
