import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LinnetError } from '../../errors.ts';
import { headerLength, parseHeader } from './header.ts';

const parse = (text: string | Uint8Array, dataBytes = 8) =>
  parseHeader(typeof text === 'string' ? Buffer.from(text) : text, dataBytes, 'x.safetensors');

/** A header of one F32 tensor [2] with some fields replaced. */
const entry = (fields: object) => JSON.stringify({ w: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...fields } });

const pair = (a: [number, number], b: [number, number]) =>
  JSON.stringify({
    a: { dtype: 'U8', shape: [a[1] - a[0]], data_offsets: a },
    b: { dtype: 'U8', shape: [b[1] - b[0]], data_offsets: b },
  });

describe('parseHeader accepts', () => {
  it('tensors in any order of the header, scalars, empty tensors, metadata and padding', () => {
    const text = JSON.stringify({
      last: { dtype: 'F16', shape: [1, 2], data_offsets: [4, 8] },
      __metadata__: { format: 'pt' },
      empty: { dtype: 'I64', shape: [0, 3], data_offsets: [4, 4] },
      scalar: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
    });
    const { tensors, metadata } = parse(`${text}   `);
    expect([...metadata]).toEqual([['format', 'pt']]);
    expect(tensors.get('last')).toEqual({ dtype: 'F16', shape: [1, 2], begin: 4, byteLength: 4 });
    expect(tensors.get('scalar')).toEqual({ dtype: 'F32', shape: [], begin: 0, byteLength: 4 });
    expect(tensors.get('empty')?.byteLength).toBe(0);
  });

  it('sub-byte elements that fill whole bytes', () => {
    const { tensors } = parse('{"w":{"dtype":"F4","shape":[4,4],"data_offsets":[0,8]}}');
    expect(tensors.get('w')?.byteLength).toBe(8);
  });
});

describe('parseHeader refuses, naming file and numbers', () => {
  it.each<[string, string | Uint8Array, RegExp]>([
    ['text that is not UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d), /UTF-8/],
    ['a byte order mark', Buffer.from('\ufeff{}'), /start with/],
    ['leading blanks', ' {}', /start with/],
    ['text that is not JSON', '{"w":', /JSON/],
    ['text after the JSON', `${entry({})}x`, /JSON/],
    ['a duplicate tensor', `{"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},${entry({}).slice(1)}`, /"w" twice/],
    ['a duplicate field', '{"w":{"dtype":"U8","shape":[8],"shape":[8],"data_offsets":[0,8]}}', /"shape" twice/],
    ['a tensor that is not an object', '{"w":[1]}', /tensor "w" must be/],
    ['a missing field', '{"w":{"dtype":"F32","shape":[2]}}', /tensor "w" must be/],
    ['fields from the prototype', '{"w":{"__proto__":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}', /must be/],
    ['an unknown dtype', entry({ dtype: 'F31' }), /unknown dtype "F31"/],
    ['a dtype named like an object member', entry({ dtype: 'constructor' }), /unknown dtype/],
    ['the name __proto__', '{"__proto__":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', /not allowed/],
    ['the name constructor', '{"constructor":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', /not allowed/],
    ['a name with an unpaired surrogate', '{"\\ud800":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', /Unicode/],
    ['a negative size', entry({ shape: [-2] }), /-2 in shape/],
    ['a fractional size', entry({ shape: [0.5] }), /0\.5 in shape/],
    [
      'a size beyond exact integers',
      '{"w":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,8]}}',
      /not a size/,
    ],
    ['a product that overflows', entry({ shape: [2 ** 32, 2 ** 32, 2 ** 32] }), /overflows/],
    ['a product that overflows before a zero', entry({ shape: [2 ** 40, 2 ** 40, 0] }), /overflows/],
    ['too many dimensions', entry({ shape: new Array(65).fill(1) }), /65 dimensions/],
    ['sizes that are not numbers', entry({ shape: ['2'] }), /must be/],
    ['a shape that disagrees with the bytes', entry({ shape: [3] }), /takes 12 bytes.*hold 8/],
    ['elements that do not fill bytes', entry({ dtype: 'F6_E2M3', shape: [3] }), /18 bits/],
    ['offsets that are not a pair', entry({ data_offsets: [0, 4, 8] }), /data_offsets/],
    ['offsets backwards', entry({ data_offsets: [8, 0] }), /data_offsets \[8,0\]/],
    ['offsets below zero', entry({ data_offsets: [-8, 0] }), /data_offsets/],
    ['offsets beyond the file', entry({ shape: [3], data_offsets: [0, 12] }), /byte 12 of the data, which has 8/],
    ['an overlap', pair([0, 5], [4, 8]), /"b" begins at byte 4, inside tensor "a", which ends at 5/],
    ['a gap', pair([0, 3], [4, 8]), /bytes 3 to 4 between tensor "a" and tensor "b"/],
    ['an uncovered start', entry({ shape: [1], data_offsets: [4, 8] }), /bytes 0 to 4/],
    ['an uncovered end', entry({ shape: [1], data_offsets: [0, 4] }), /tensors cover 4; 4 bytes follow/],
    ['an empty tensor inside another', pair([0, 8], [4, 4]), /inside/],
    ['metadata that is not an object', '{"__metadata__":"x"}', /__metadata__/],
    ['metadata that is not a string', '{"__metadata__":{"a":1}}', /"a" must be a string/],
  ])('%s', (_, text, message) => {
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow(/^x\.safetensors: /);
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });

  it('does not repeat an endless name', () => {
    const name = 'n'.repeat(100_000);
    const message = (): string => {
      try {
        parse(`{"${name}":1}`);
      } catch (error) {
        if (error instanceof Error) return error.message;
      }
      return name;
    };
    expect(message().length).toBeLessThan(500);
  });
});

describe('headerLength', () => {
  const field = (length: bigint) => new Uint8Array(BigUint64Array.of(length).buffer);

  it('reads a little-endian length, from an odd position of a buffer too', () => {
    const shifted = new Uint8Array(11);
    shifted.set(field(300n), 3);
    expect(headerLength(shifted.subarray(3), 1000, 'x')).toBe(300);
  });

  it.each([
    ['no room for the field', new Uint8Array(7), 7, /too few/],
    ['a header beyond the file', field(93n), 100, /claims 93 bytes, the file has 92/],
    ['a header over the limit', field(100_000_001n), 2 ** 40, /at most 100000000/],
    ['a length beyond exact integers', field(2n ** 64n - 1n), 2 ** 40, /18446744073709551615/],
  ])('refuses %s', (_, prefix, fileBytes, message) => {
    expect(() => headerLength(prefix, fileBytes, 'x')).toThrow(message);
  });
});

describe('fuzz', () => {
  const dim = fc.oneof(fc.nat(4), fc.maxSafeInteger(), fc.double(), fc.constant('2'));
  const offset = fc.oneof(fc.nat(16), fc.maxSafeInteger());
  const field = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        dtype: fc.constantFrom('F32', 'U8', 'F4', 'BF16', 'X'),
        shape: fc.array(dim, { maxLength: 3 }),
        data_offsets: fc.array(offset, { minLength: 1, maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.jsonValue() },
  );

  it('any JSON header gives a LinnetError or tensors that tile the data exactly', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ maxLength: 5 }), field, { maxKeys: 4 }),
        fc.nat(32),
        (header, dataBytes) => {
          try {
            const { tensors } = parse(JSON.stringify(header), dataBytes);
            const covered = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
            expect(covered).toBe(dataBytes);
            for (const { begin, byteLength } of tensors.values()) {
              expect(begin).toBeGreaterThanOrEqual(0);
              expect(begin + byteLength).toBeLessThanOrEqual(dataBytes);
            }
          } catch (error) {
            if (!(error instanceof LinnetError)) throw error;
            expect(error.code).toBe('FORMAT');
          }
        },
      ),
      { seed: 11, numRuns: 5000 },
    );
  });
});
