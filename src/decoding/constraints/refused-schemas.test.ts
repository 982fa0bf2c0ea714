import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ByteMachine, type MachineState } from './byte-machine.ts';
import { schemaGrammar } from './json-schema.ts';

/** So many properties that are texts. */
const texts = (count: number): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, { type: 'string' }]));

describe('schemas', () => {
  it('that cannot be used are refused', () => {
    const deep = (levels: number): unknown => (levels === 0 ? {} : { type: 'array', items: deep(levels - 1) });
    const refused: readonly unknown[] = [
      1,
      { properties: { a: true }, propertyNames: { maxLength: 1 }, additionalProperties: true },
      { propertyNames: { type: 'integer' } },
      { propertyNames: { const: 1 } },
      { propertyNames: { enum: ['a', 'bc'], maxLength: 1 } },
      { propertyNames: { enum: ['a', 1] } },
      { properties: { a: true }, propertyNames: { enum: ['a'] } },
      { propertyNames: { not: { maxLength: 1 } } },
      null,
      undefined,
      false,
      { type: 'strange' },
      { type: [] },
      { not: {} },
      { type: 'number', multipleOf: 2 },
      { allOf: [{}, {}] },
      { anyOf: [] },
      { enum: 'a' },
      { enum: ['a', 1.5], type: 'integer' },
      { const: 'a', type: ['integer', 'null'] },
      { type: 'array', contains: false },
      { $ref: '#' },
      { $ref: 'https://example.org' },
      { $ref: '#/$defs/none' },
      { $ref: '#/$defs/__proto__', $defs: {} },
      { $ref: '#/$defs/a', $defs: { a: { anyOf: [{ $ref: '#/$defs/b' }] }, b: { anyOf: [{ $ref: '#/$defs/a' }] } } },
      { type: 'string', maxLength: 1e9 },
      { type: 'string', minLength: -1 },
      { type: 'string', pattern: '(a' },
      { type: 'string', pattern: '(?=a)' },
      { type: 'string', pattern: '\\1' },
      { type: 'string', pattern: 'a{5000}' },
      { type: 'array', minItems: 3, maxItems: 2 },
      { properties: [] },
      { required: ['x'] },
      { type: 'integer', minimum: 3, maximum: 2 },
      { type: 'number', minimum: 5e9 },
      { type: 'number', minimum: 0.1, exclusiveMaximum: 0.100001, maximum: 0.1, exclusiveMinimum: 0.1 },
      { type: 'number', minimum: 1e20 },
      { anyOf: [{ not: {} }] },
      { properties: { a: { not: {} } }, required: ['a'] },
      { properties: { a: { not: {} } }, additionalProperties: true },
      deep(60),
      { enum: ['x'.repeat(200_000)] },
      { properties: texts(600) },
      { properties: texts(1_500), required: Object.keys(texts(1_500)) },
    ];
    for (const schema of refused) {
      expect(() => new ByteMachine(schemaGrammar(schema)), JSON.stringify(schema ?? null).slice(0, 80)).toThrow(
        expect.objectContaining({ code: 'INPUT' }),
      );
    }
  });

  it('may have hundreds of properties', () => {
    const all = texts(900);
    expect(new ByteMachine(schemaGrammar({ properties: texts(450) })).start.accepts).toBe(false);
    expect(new ByteMachine(schemaGrammar({ properties: all, required: Object.keys(all) })).start.accepts).toBe(false);
  });

  it('say what to do instead', () => {
    expect(() => schemaGrammar(z.object({ a: z.int() }))).toThrow('give z.toJSONSchema(schema)');
    expect(() => schemaGrammar(z.toJSONSchema(z.int().multipleOf(5)))).toThrow(/"multipleOf" .* leave it out/);
    expect(() => schemaGrammar({ pattern: '(?=a)' })).toThrow(/pattern .*"\(\?=a\)" is not supported; use groups/);
    expect(() => schemaGrammar(z.toJSONSchema(z.never()))).toThrow(/accepts nothing; leave it out/);
  });

  it('list values of their type, and refer to encoded names', () => {
    const accepts = (schema: unknown, text: string): boolean => {
      const machine = new ByteMachine(schemaGrammar(schema));
      let state: MachineState | null = machine.start;
      for (const byte of new TextEncoder().encode(text)) state = state && machine.step(state, byte);
      return state?.accepts === true;
    };
    const listed = { enum: [1, 'a', null, 2], type: ['integer', 'null'] };
    expect(['1', 'null', '2', '"a"'].map((text) => accepts(listed, text))).toEqual([true, true, true, false]);
    const definitions = { 'Part<A/B>': { type: 'boolean' } };
    for (const $ref of ['#/definitions/Part%3CA~1B%3E', '#/definitions/Part<A~1B>'])
      expect(accepts({ $ref, definitions }, 'true')).toBe(true);
  });
});
