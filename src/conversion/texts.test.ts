import { expect, it } from 'vitest';
import { byteTokenizer } from '../tokenizer/bytes.ts';
import { calibrationTexts } from './texts.ts';

it('calibrates on whole texts of one length, and refuses less than one', async () => {
  const length = 16;
  const documents = [{ text: 'a'.repeat(40), source: 'a text' }];
  const texts = await calibrationTexts(documents, byteTokenizer(), { length });
  expect(texts.map((text) => text.length)).toEqual([16, 16]);
  const short = [{ text: 'a'.repeat(9), source: 'a text' }];
  await expect(calibrationTexts(short, byteTokenizer(), { length })).rejects.toThrow(
    'calibration needs a text of 16 tokens; give more data',
  );
});
