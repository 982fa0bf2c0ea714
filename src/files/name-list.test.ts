import { describe, expect, it } from 'vitest';
import { nearName } from './name-list.ts';

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
