/** Session files: what is written is read, and nothing else is. */
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { readSessionText, writeSessionText } from './session-text.ts';

const session = { tokens: [0, 5, 9], random: [1, 2, 3, 4] } as const;
const file = writeSessionText(session, 'of a model');

describe('session files of the playground', () => {
  it('come back as they were', () => {
    expect(readSessionText(file, 'of a model', 10)).toEqual(session);
    const greedy = { tokens: [3] };
    expect(readSessionText(writeSessionText(greedy, 'a'), 'a', 10)).toEqual(greedy);
  });

  it('are refused where they are of another model', async () => {
    expect(await errorCode(() => readSessionText(file, 'of another', 10))).toBe('MISMATCH');
  });

  it.each([
    ['no JSON', 'tokens'],
    ['another object', '{}'],
    ['a later version', file.replace('"version":1', '"version":2')],
    ['no tokens', file.replace('[0,5,9]', '[]')],
    ['tokens that are no numbers', file.replace('[0,5,9]', '["a"]')],
    ['tokens outside the vocabulary', file.replace('[0,5,9]', '[0,10]')],
    ['random numbers that are none', file.replace('[1,2,3,4]', '[1,2,3,-4]')],
    ['random numbers that stand still', file.replace('[1,2,3,4]', '[0,0,0,0]')],
    ['more than is known', file.replace('{', '{"more":1,')],
  ])('are refused with %s', async (_, damaged) => {
    expect(damaged).not.toBe(file);
    expect(await errorCode(() => readSessionText(damaged, 'of a model', 10))).toBe('FORMAT');
  });
});
