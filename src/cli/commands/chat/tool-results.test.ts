/** Output of tools in a terminal. */
import { expect, it } from 'vitest';
import { printable } from './tool-results.ts';

it('shows control characters of a tool, and keeps its lines', () => {
  expect(printable('a\tb\nc')).toBe('a\tb\nc');
  expect(printable('\u001b]0;title\u0007\u001b[2J\r\u009b')).toBe(String.raw`\x1b]0;title\x07\x1b[2J\x0d\x9b`);
});
