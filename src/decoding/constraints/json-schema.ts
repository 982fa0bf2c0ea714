/**
 * JSON schemas as grammars. The schema accepts every text of its grammar, but not the reverse: properties come in the
 * schema's order, and objects with named properties have no others unless `additionalProperties` allows them. Keywords that
 * a grammar cannot express are refused, never ignored; `oneOf` alone is read as `anyOf`, so its schemas should exclude each other.
 */
import { LinnetError } from '../../errors.ts';
import { checkJsonLimits, isJsonObject, type JsonObject } from '../../files/json-object.ts';
import {
  type Grammar,
  type Member,
  type Pattern,
  anyOf,
  anyValue,
  blanks,
  exactText,
  jsonArray,
  jsonInteger,
  jsonNumber,
  jsonObject,
  jsonRules,
  jsonString,
  numberBetween,
  rule,
  sequence,
  stringOf,
} from './pattern.ts';
import { matchingString } from './regular-expression.ts';
import { referenced } from './schema-references.ts';

/** A schema's bounds. */
const most = { bytes: 128 << 10, depth: 48, schemas: 2_000, length: 10_000, items: 1_000 };

/** Keywords that narrow the accepted values in ways a grammar cannot express. */
const unsupported = [
  'not',
  'if',
  'then',
  'else',
  'dependentRequired',
  'dependentSchemas',
  'dependencies',
  'patternProperties',
  'minProperties',
  'maxProperties',
  'unevaluatedProperties',
  'unevaluatedItems',
  'contains',
  'minContains',
  'maxContains',
  'uniqueItems',
  'multipleOf',
  'additionalItems',
  '$dynamicRef',
  '$recursiveRef',
];

/** Keywords that list or combine values; a schema has at most one of them. */
const combinations = ['$ref', 'const', 'enum', 'anyOf', 'oneOf', 'allOf'];

/** Keywords for one type's values. A schema without a type means the first type it has a keyword of. */
const keywordsOf: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties', 'propertyNames'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['pattern', 'minLength', 'maxLength', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
};

/** Keywords that constrain a value itself (formats may only describe it); none is allowed next to a combination. */
const assertions = ['type', ...combinations, ...Object.values(keywordsOf).flat()].filter((name) => name !== 'format');

const date = '\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])';
const time = '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)';

/** Formats that are enforced; others only describe a string, and accept any. */
const formats: Readonly<Record<string, string>> = {
  date: `^${date}$`,
  time: `^${time}$`,
  'date-time': `^${date}T${time}$`,
  uuid: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
};

/**
 * A schema's grammar.
 * @throws LinnetError `INPUT` for a schema that is malformed, too large, or outside the supported grammar
 */
export function schemaGrammar(schema: unknown): Grammar {
  const rules = jsonRules();
  return { root: sequence(blanks, schemaPattern(schema, rules)), rules };
}

/**
 * A schema's pattern in a larger grammar.
 * @param rules from `jsonRules`; the schema's references are added
 * @param scope distinguishes several schemas' references
 * @throws LinnetError like `schemaGrammar`
 */
export function schemaPattern(schema: unknown, rules: Map<string, Pattern>, scope = ''): Pattern {
  return readerOf(schema, rules, scope).pattern();
}

/** The properties of an object schema, in order. @throws LinnetError like `schemaGrammar` */
export function schemaMembers(schema: JsonObject, rules: Map<string, Pattern>, scope: string): Member[] {
  return readerOf(schema, rules, scope).properties(schema);
}

function readerOf(schema: unknown, rules: Map<string, Pattern>, scope: string): SchemaReader {
  if (isJsonObject(schema) && typeof schema.safeParse === 'function')
    throw wrong('', 'it is no JSON schema yet; give z.toJSONSchema(schema)');
  const written = JSON.stringify(schema) ?? '';
  if (written.length > most.bytes) throw wrong('', `it has ${written.length} characters, more than ${most.bytes}`);
  try {
    checkJsonLimits(new TextEncoder().encode(written), 'the schema', { depth: most.depth });
  } catch (cause) {
    throw new LinnetError('INPUT', cause instanceof Error ? cause.message : 'the schema is too deep', { cause });
  }
  return new SchemaReader(schema, rules, scope);
}

/** Where a schema is, for messages, and which rule begins with it. */
interface Place {
  readonly path: string;
  /** The rule that would begin with this schema; undefined inside an object or array. */
  readonly headOf?: string;
}

class SchemaReader {
  readonly #schema: unknown;
  readonly #rules: Map<string, Pattern>;
  readonly #scope: string;
  /** Which rules each rule may begin with. */
  readonly #heads = new Map<string, Set<string>>();
  #count = 0;

  constructor(schema: unknown, rules: Map<string, Pattern>, scope: string) {
    this.#schema = schema;
    this.#rules = rules;
    this.#scope = scope;
  }

  pattern(): Pattern {
    const root = this.#read(this.#schema, { path: '' });
    this.#refuseEndless();
    return root;
  }

  properties(schema: JsonObject): Member[] {
    refuseUnsupported(schema, '');
    if (schema.propertyNames !== undefined) throw wrong('', '"propertyNames" is not supported here');
    const members = this.#members(schema, '');
    this.#refuseEndless();
    return members;
  }

  #read(schema: unknown, place: Place): Pattern {
    if (++this.#count > most.schemas) throw wrong(place.path, `there are more than ${most.schemas} schemas in it`);
    if (schema === true) return anyValue;
    if (isNever(schema)) throw wrong(place.path, 'it accepts nothing; leave it out');
    if (!isJsonObject(schema)) throw wrong(place.path, 'a schema must be an object or true');
    refuseUnsupported(schema, place.path);
    return this.#combination(schema, place) ?? this.#ofTypes(schema, place);
  }

  /** A schema's pattern by reference, by listed values or by a combination; undefined for others. */
  #combination(schema: JsonObject, place: Place): Pattern | undefined {
    const given = combinations.find((keyword) => Object.hasOwn(schema, keyword));
    if (given === undefined) return undefined;
    const allowed = ['enum', 'const'].includes(given) ? [given, 'type'] : [given];
    const beside = assertions.find((keyword) => Object.hasOwn(schema, keyword) && !allowed.includes(keyword));
    if (beside !== undefined)
      throw wrong(place.path, `"${beside}" next to "${given}" is not supported; write one schema`);
    const value = schema[given];
    if (given === '$ref') return this.#reference(value, place);
    if (given === 'const') return this.#listed([value], schema, place);
    if (!Array.isArray(value) || value.length === 0) throw wrong(place.path, `"${given}" must be a non-empty list`);
    const possible: readonly unknown[] = value.filter((option) => given !== 'anyOf' || !isNever(option));
    const options = possible.length === 0 ? value : possible;
    if (given === 'enum') return this.#listed(value, schema, place);
    if (given === 'allOf' && options.length > 1)
      throw wrong(place.path, '"allOf" of several schemas is not supported; write one schema');
    return anyOf(
      ...options.map((option, index) => this.#read(option, { ...place, path: `${place.path}/${given}/${index}` })),
    );
  }

  /** The values that have one of the schema's types. */
  #listed(values: readonly unknown[], { type }: JsonObject, { path }: Place): Pattern {
    const types: readonly unknown[] = type === undefined ? [] : [type].flat();
    const fitting = values.filter((value) => types.length === 0 || types.some((one) => isOfType(value, one)));
    if (fitting.length === 0) throw wrong(path, 'no listed value has its "type"');
    return anyOf(...fitting.map((value) => exactText(JSON.stringify(value))));
  }

  #reference(target: unknown, place: Place): Pattern {
    if (typeof target !== 'string' || !(target === '#' || target.startsWith('#/'))) {
      throw wrong(place.path, '"$ref" must begin with #, a place in the same schema');
    }
    const found = referenced(this.#schema, target);
    if (found === undefined) throw wrong(place.path, `there is no ${target.slice(0, 100)} in the schema`);
    const name = `ref ${this.#scope}${target}`;
    if (place.headOf !== undefined) this.#heads.get(place.headOf)?.add(name);
    if (!this.#heads.has(name)) {
      this.#heads.set(name, new Set());
      this.#rules.set(name, this.#read(found.schema, { path: target.slice(1), headOf: name }));
    }
    return rule(name);
  }

  #ofTypes(schema: JsonObject, place: Place): Pattern {
    const hasKeyword = (type: string): boolean => keywordsOf[type].some((keyword) => Object.hasOwn(schema, keyword));
    const given = schema.type ?? Object.keys(keywordsOf).find(hasKeyword);
    if (given === undefined) return anyValue;
    const types: readonly unknown[] = Array.isArray(given) ? given : [given];
    if (types.length === 0) throw wrong(place.path, '"type" is empty');
    const options = types.map((type) => {
      const reader = typeof type === 'string' && Object.hasOwn(this.#types, type) ? this.#types[type] : undefined;
      if (reader === undefined) throw wrong(place.path, `there is no type ${JSON.stringify(type).slice(0, 100)}`);
      return reader(schema, place.path);
    });
    return anyOf(...options);
  }

  readonly #types: Readonly<Record<string, (schema: JsonObject, path: string) => Pattern>> = {
    null: () => exactText('null'),
    boolean: () => anyOf(exactText('true'), exactText('false')),
    string: readString,
    number: (schema, path) => readNumber(schema, path, 6),
    integer: (schema, path) => readNumber(schema, path, 0),
    object: (schema, path) => this.#object(schema, path),
    array: (schema, path) => this.#array(schema, path),
  };

  #members(schema: JsonObject, path: string): Member[] {
    const { properties = {}, required = [] } = schema;
    if (!isJsonObject(properties)) throw wrong(path, '"properties" must be an object');
    if (!Array.isArray(required) || !required.every((name) => typeof name === 'string')) {
      throw wrong(path, '"required" must be a list of names');
    }
    const names = new Set<string>(required);
    const written = Object.entries(properties).filter(([name, value]) => names.has(name) || !isNever(value));
    const members = written.map(
      ([name, value]): Member => ({
        name,
        required: names.has(name),
        value: this.#read(value, { path: `${path}/properties/${name}` }),
      }),
    );
    const unnamed = [...names].find((name) => !Object.hasOwn(properties, name));
    if (unnamed !== undefined) throw wrong(path, `"${unnamed.slice(0, 100)}" is required and not among "properties"`);
    return members;
  }

  #object(schema: JsonObject, path: string): Pattern {
    const { propertyNames, ...rest } = schema;
    const { additionalProperties, properties } = rest;
    const { name, listed } = readNames(propertyNames, `${path}/propertyNames`);
    // A list of names, as for records with an enumeration, lists properties.
    if (listed !== undefined && properties === undefined && additionalProperties !== false) {
      const named = Object.fromEntries(listed.map((each) => [each, additionalProperties ?? true]));
      return this.#object({ ...rest, properties: named, additionalProperties: false }, path);
    }
    const members = this.#members(schema, path);
    if ((name !== jsonString || listed !== undefined) && members.length > 0)
      throw wrong(path, '"propertyNames" next to "properties" is not supported');
    const named = Object.keys(properties ?? {});
    const open = additionalProperties ?? named.length === 0;
    if (!isNever(open) && members.length < named.length)
      throw wrong(path, 'a property that accepts nothing needs "additionalProperties": false');
    const others = isNever(open) ? undefined : this.#read(open, { path: `${path}/additionalProperties` });
    return jsonObject(members, others, name);
  }

  #array(schema: JsonObject, path: string): Pattern {
    // Before draft 2020-12, a list of items meant today's "prefixItems".
    const earlier = Array.isArray(schema.items) ? schema.items : undefined;
    const { prefixItems = earlier ?? [] } = schema;
    const items = earlier === undefined ? schema.items : undefined;
    if (!Array.isArray(prefixItems)) throw wrong(path, '"prefixItems" must be a list of schemas');
    const first = prefixItems.map((item, index) => this.#read(item, { path: `${path}/prefixItems/${index}` }));
    const least = wholeNumber(schema, 'minItems', path) ?? earlier?.length ?? 0;
    const longest = wholeNumber(schema, 'maxItems', path) ?? Infinity;
    if (least > longest) throw wrong(path, '"minItems" is more than "maxItems"');
    if (least > most.items || (longest !== Infinity && longest > most.items)) {
      throw wrong(path, `bounds of arrays go up to ${most.items}`);
    }
    const closed = isNever(items) || (items === undefined && first.length > 0);
    if (closed && least > first.length) throw wrong(path, '"minItems" exceeds the number of schemas');
    const item = closed ? undefined : this.#read(items ?? true, { path: `${path}/items` });
    return jsonArray(first, item, least, longest);
  }

  /** @throws LinnetError for a rule that begins with itself: no finite text matches such a schema */
  #refuseEndless(): void {
    const done = new Set<string>();
    const visit = (name: string, above: readonly string[]): void => {
      if (above.includes(name)) throw wrong(name.slice(name.indexOf('#') + 1), 'it refers only to itself');
      if (done.has(name)) return;
      for (const head of this.#heads.get(name) ?? []) visit(head, [...above, name]);
      done.add(name);
    };
    for (const name of this.#heads.keys()) visit(name, []);
  }
}

/** Whether a schema accepts nothing: false, or as zod writes it. */
function isNever(schema: unknown): boolean {
  return schema === false || (isJsonObject(schema) && JSON.stringify(schema.not) === '{}');
}

/** Whether a value is of a JSON schema type. */
function isOfType(value: unknown, type: unknown): boolean {
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  return type === 'object' ? isJsonObject(value) : typeof value === type;
}

function refuseUnsupported(schema: JsonObject, path: string): void {
  // `false` switches most of them off.
  const refused = unsupported.find(
    (keyword) => Object.hasOwn(schema, keyword) && (schema[keyword] !== false || keyword === 'contains'),
  );
  if (refused !== undefined)
    throw wrong(path, `"${refused}" is not supported; leave it out, and check the answer by it`);
}

/** The pattern for names, which are JSON strings, and their list if the schema has one. */
function readNames(schema: unknown, path: string): { readonly name: Pattern; readonly listed?: readonly string[] } {
  if (schema === undefined || schema === true) return { name: jsonString };
  if (isJsonObject(schema) && (schema.type ?? 'string') === 'string') {
    const { enum: listed } = schema;
    const given = [...assertions, ...unsupported].filter((name) => name !== 'type' && Object.hasOwn(schema, name));
    if (String(given) === 'enum' && Array.isArray(listed) && listed.every((name) => typeof name === 'string')) {
      return { name: jsonString, listed };
    }
    if (given.every((name) => keywordsOf.string.includes(name))) return { name: readString(schema, path) };
  }
  throw wrong(path, 'names can only have bounds of length, a pattern or format, or an "enum" of strings');
}

function readString(schema: JsonObject, path: string): Pattern {
  const { pattern, format } = schema;
  const least = wholeNumber(schema, 'minLength', path);
  const longest = wholeNumber(schema, 'maxLength', path);
  const bounded = least !== undefined || longest !== undefined;
  const known = typeof format === 'string' && Object.hasOwn(formats, format) ? formats[format] : undefined;
  const expression = pattern ?? known;
  if (expression !== undefined) {
    if (typeof expression !== 'string' || expression.length > 4096)
      throw wrong(path, '"pattern" must be a text of at most 4096 characters');
    if (bounded) throw wrong(path, 'a length next to a pattern is not supported; say it in the pattern');
    return matchingString(expression);
  }
  if (!bounded) return jsonString;
  if ((least ?? 0) > (longest ?? Infinity)) throw wrong(path, '"minLength" is more than "maxLength"');
  if (Math.max(least ?? 0, longest ?? 0) > most.length) throw wrong(path, `bounds of strings go up to ${most.length}`);
  return stringOf(least ?? 0, longest ?? Infinity);
}

/** @param places most digits of a fraction */
function readNumber(schema: JsonObject, path: string, places: number): Pattern {
  if (!keywordsOf.number.some((keyword) => Object.hasOwn(schema, keyword)))
    return places === 0 ? jsonInteger : jsonNumber;
  const read = (keyword: string, missing: number): number => {
    const value = schema[keyword];
    if (value === undefined) return missing;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(path, `"${keyword}" must be a number`);
    // No number is written with that many digits.
    if (Math.abs(value) > 1e16) return value * Infinity;
    if (places === 0 || Math.abs(value) <= 1e9) return value;
    throw wrong(path, `"${keyword}" must be within ±1000000000, except for whole numbers ("type": "integer")`);
  };
  const unit = 10 ** places;
  /** The outermost number within a bound, in units of the last place. */
  const within = (keyword: string, inward: number, isOpen = false): number => {
    const bound = read(keyword, -inward * Infinity);
    const nearest = Math.round(bound * unit);
    const distance = inward * (nearest / unit - bound);
    return distance < 0 || (isOpen && distance === 0) ? nearest + inward : nearest;
  };
  const from = Math.max(within('minimum', 1), within('exclusiveMinimum', 1, true));
  const to = Math.min(within('maximum', -1), within('exclusiveMaximum', -1, true));
  const pattern = numberBetween(from, to, places);
  if (pattern !== undefined) return pattern;
  throw wrong(path, `there is no ${places === 0 ? 'whole ' : ''}number of up to 15 digits within the bounds`);
}

function wholeNumber(schema: JsonObject, keyword: string, path: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw wrong(path, `"${keyword}" must be a whole number from 0`);
}

function wrong(path: string, reason: string): LinnetError {
  return new LinnetError(
    'INPUT',
    `the schema${path === '' ? '' : ` at ${path.slice(0, 200)}`} cannot be used: ${reason}`,
  );
}
