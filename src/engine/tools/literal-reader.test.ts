import { expect, it } from 'vitest';
import { LiteralReader } from './literal-reader.ts';

it('reads escapes of keys into the names that are looked up', () => {
  const names: string[] = [];
  const isVerbatim = (member: string): boolean => names.push(member) < 0;
  const reader = new LiteralReader({ quotes: ['"'], equals: ':', close: '}', isVerbatim });
  const { json, ended } = reader.read(String.raw`"ci\u0074\x79":"\ud83d\ude00",1}`);
  expect(names).toEqual(['city']);
  expect([json.startsWith(String.raw`{"city": "\ud83d\ude00"`), ended]).toEqual([true, true]);
});
