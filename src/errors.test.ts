/** What errors say. */
import { expect, it } from 'vitest';
import { reasonOf } from './errors.ts';

it('says what failed where a fetch does, of several tries the first', () => {
  const refused = new Error('connect ECONNREFUSED ::1:9');
  for (const cause of [refused, new AggregateError([refused, new Error('another')])]) {
    expect(reasonOf(new TypeError('fetch failed', { cause }))).toBe('fetch failed: connect ECONNREFUSED ::1:9');
  }
  expect(reasonOf(new TypeError('fetch failed'))).toBe('fetch failed');
  expect(reasonOf('words')).toBe('words');
});
