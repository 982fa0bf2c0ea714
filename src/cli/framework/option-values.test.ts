import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  choice,
  decimal,
  indexList,
  indexRange,
  integer,
  path,
  text,
  textList,
  tokenIds,
  type ValueKind,
} from './option-values.ts';

function read<T>(kind: ValueKind<T>, given: string): T | 'refused' {
  const result = kind.schema.safeParse(given);
  return result.success ? result.data : 'refused';
}

describe('texts', () => {
  it('reads a list without the spaces around its texts, and refuses empty and long ones', () => {
    expect(read(textList(5), 'a, org/b ,c d')).toEqual(['a', 'org/b', 'c d']);
    for (const given of ['', ' ', 'a,', 'a,,b', 'a,longer']) expect(read(textList(5), given)).toBe('refused');
  });
});

describe('numbers', () => {
  it('reads what JavaScript prints, within the bounds', () => {
    fc.assert(
      fc.property(fc.integer({ min: -2000, max: 2000 }), (value) => {
        const expected = Math.abs(value) <= 1000 ? value : 'refused';
        expect(read(integer(-1000, 1000), String(value))).toBe(expected);
        expect(read(decimal(-1000, 1000), String(value))).toBe(expected);
      }),
    );
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(read(decimal(), String(value))).toBe(value === 0 ? Number(String(value)) : value);
      }),
    );
  });

  it.each(['', ' ', 'a', '1a', '0x10', '1e3', '1.0', 'Infinity', 'NaN', '1_000', '1,000', '99999999999999999999'])(
    'refuses %j as a whole number',
    (given) => {
      expect(read(integer(), given)).toBe('refused');
    },
  );

  it.each(['', '.', 'e5', '1e', 'Infinity', 'NaN', '1e999', '0x10', '1,5'])('refuses %j as a number', (given) => {
    expect(read(decimal(), given)).toBe('refused');
  });

  it('says what is expected', () => {
    expect(integer(1, 5).expects).toBe('a whole number from 1 to 5');
    expect(integer(1).expects).toBe('a whole number of at least 1');
    expect(decimal(undefined, 2).expects).toBe('a number of at most 2');
    expect(decimal().expects).toBe('a number');
  });
});

describe('words', () => {
  it('takes only the known ones', () => {
    const kind = choice(['cpu', 'webgpu']);
    expect(read(kind, 'webgpu')).toBe('webgpu');
    expect(read(kind, 'toString')).toBe('refused');
    expect(kind.expects).toBe('one of cpu, webgpu');
  });

  it('takes other names of element types', () => {
    const kind = choice(['f32', 'F16', 'w8a8']);
    expect(['float32', 'Float16', 'fp16', 'int8', 'F32'].map((given) => read(kind, given))).toEqual([
      'f32',
      'F16',
      'F16',
      'w8a8',
      'f32',
    ]);
  });

  it('refuses empty texts and impossible paths', () => {
    expect(read(text, '')).toBe('refused');
    expect(read(path, '')).toBe('refused');
    expect(read(path, 'a\0b')).toBe('refused');
    expect(read(path, '-')).toBe('-');
  });
});

describe('lists', () => {
  it('reads token ids', () => {
    expect(read(tokenIds, '1, 2,30')).toEqual([1, 2, 30]);
    for (const wrong of ['', ',', '1,', '1 2', '-1', '1.5', '1234567890'])
      expect(read(tokenIds, wrong)).toBe('refused');
  });

  it('reads indices and ranges, sorted and once each', () => {
    expect(read(indexList, '0-3,5')).toEqual([0, 1, 2, 3, 5]);
    expect(read(indexList, '7,1-2,2')).toEqual([1, 2, 7]);
    for (const wrong of ['', '-', '3-1', '1-', 'all', '0-99999', '1;2', '0-3-5']) {
      expect(read(indexList, wrong)).toBe('refused');
    }
  });

  it('reads a range with both ends', () => {
    expect(read(indexRange, '110-129')).toEqual({ first: 110, last: 129 });
    expect(read(indexRange, '4')).toEqual({ first: 4, last: 4 });
    expect(read(indexRange, '5-4')).toBe('refused');
  });
});
