import { describe, expect, it } from 'vitest';
import { nearName, shownValue } from './name-list.ts';

describe('nearName', () => {
  const known = ['maxTokens', 'temperature', 'topK', 'stop'];

  it.each([
    ['max_tokens', 'maxTokens'],
    ['max_new_tokens', 'maxTokens'],
    ['top_k', 'topK'],
    ['temprature', 'temperature'],
    ['tsop', 'stop'],
    ['somethingElse', undefined],
    ['', undefined],
  ])('%s → %s', (given, meant) => {
    expect(nearName(given, known)).toBe(meant);
  });
});

it('shows values that JSON lacks', () => {
  expect([2n ** 60n, [1n, null], NaN, -Infinity, 'a', undefined].map(shownValue)).toEqual([
    ...['"1152921504606846976"', '["1",null]', 'NaN', '-Infinity', '"a"', 'undefined'],
  ]);
});
