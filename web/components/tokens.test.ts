/** Signs for what cannot be seen. */
import { expect, it } from 'vitest';
import { visibleToken } from './tokens.ts';

it.each([
  [' and', '·and'],
  ['\n\n', '⏎⏎'],
  ['\t', '⇥'],
  ['\u0000', '␣'],
  ['', '∅'],
  ['abcdefghijklmnopq', 'abcdefghijklm…'],
  ['😀😀', '😀😀'],
])('%j is drawn as %s', (text, drawn) => {
  expect(visibleToken(text)).toBe(drawn);
});
