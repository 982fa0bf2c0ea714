import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDelimited } from './delimited.ts';

const csv = { delimiter: ',', quotes: true };
const values = (text: string, syntax = csv): (readonly string[])[] =>
  parseDelimited(text, syntax, 'table').map((row) => row.values);

describe('parseDelimited', () => {
  it('reads quoted values with delimiters, line breaks and quotation marks, and counts lines', () => {
    const rows = parseDelimited('a,"b, ""c""\nd",\n\n"",e', csv, 'table');
    expect(rows).toEqual([
      { values: ['a', 'b, "c"\nd', ''], line: 1 },
      { values: ['', 'e'], line: 4 },
    ]);
  });

  it('takes quotation marks as they are where there are no quotes', () => {
    expect(values('"a\tb"\n', { delimiter: '\t', quotes: false })).toEqual([['"a', 'b"']]);
  });

  it.each([
    ['a,"b', /table:1: .*never closed/],
    ['a\n"b"c', /table:2: .*follows/],
    ['a\n\n1\n"b\nc\nd', /table:4: .*never closed/],
    ['a\nb"c,d', /table:2: .*within a value/],
  ])('refuses %j', (text, message) => {
    expect(() => values(text)).toThrow(message);
  });

  it('reads back whatever is written', () => {
    const cell = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', ' '), maxLength: 6 });
    fc.assert(
      fc.property(fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { maxLength: 5 }), (table) => {
        const text = table
          .map((row) => `${row.map((value) => `"${value.replaceAll('"', '""')}"`).join(',')}\n`)
          .join('');
        expect(values(text)).toEqual(table);
      }),
      { seed: 5, numRuns: 200 },
    );
  });

  it('gives rows or a typed error for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', ',', '"', '\n') }), (text) => {
        try {
          for (const row of values(text)) expect(row.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toMatchObject({ code: 'FORMAT' });
        }
      }),
      { seed: 6, numRuns: 500 },
    );
  });
});
