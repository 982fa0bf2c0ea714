import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findDuplicateKey, parseJson, parseJsonObject } from './json-object.ts';

it('a byte order mark is skipped', () => {
  expect(parseJson('\ufeff{"a":1}', 'it')).toEqual({ a: 1 });
  expect(parseJsonObject(new TextEncoder().encode('\ufeff{"a":1}'), 'it')).toEqual({ a: 1 });
});

describe('findDuplicateKey', () => {
  it.each([
    ['{"a":1,"a":2}', 'a'],
    ['{"a":{"b":1,"b":2}}', 'b'],
    ['{"x":[{"k":1},{"k":1,"k":2}]}', 'k'],
    ['{"a":1,"\\u0061":2}', 'a'],
    ['{ "q\\"" : 1 , "q\\"" : 2 }', 'q"'],
    ['{"":0,"b":[1,2,"x"],"":1}', ''],
    ['{"a":{"c":[]},"b":{},"a":{}}', 'a'],
  ])('finds the duplicate in %s', (text, key) => {
    expect((): unknown => JSON.parse(text)).not.toThrow();
    expect(findDuplicateKey(text)).toBe(key);
  });

  it.each([
    '{"a":"a","b":"a"}',
    '[{"a":1},{"a":1}]',
    '{"a":{"a":{"a":1}}}',
    '{"a":["a","a",","],"b":"{\\"a\\":1,\\"a\\""}',
    '{}',
    '"x"',
  ])('accepts %s', (text) => {
    expect((): unknown => JSON.parse(text)).not.toThrow();
    expect(findDuplicateKey(text)).toBeUndefined();
  });

  it('accepts whatever JSON.stringify writes, and finds any member that is repeated', () => {
    const anyObject = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue(), { minKeys: 1 });
    fc.assert(
      fc.property(anyObject, fc.jsonValue(), fc.nat(), (object, value, pick) => {
        const text = JSON.stringify(object, undefined, 1);
        expect(findDuplicateKey(text)).toBeUndefined();
        const keys = Object.keys(object);
        const key = keys[pick % keys.length];
        expect(findDuplicateKey(`${text.slice(0, -1)}, ${JSON.stringify(key)}: ${JSON.stringify(value)}}`)).toBe(key);
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  it('takes linear time on deep nesting and long runs of escapes', () => {
    const hostile = `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)},"${'\\\\'.repeat(500_000)}":1,"b":1}`;
    const started = performance.now();
    expect(findDuplicateKey(hostile)).toBeUndefined();
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
