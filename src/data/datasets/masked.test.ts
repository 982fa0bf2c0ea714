import { describe, expect, it } from 'vitest';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { maskedDocuments, maskingIds } from './masked.ts';

const bytes = byteTokenizer();
/** Bytes with the special tokens of an encoder. */
const tokenizer: Tokenizer = {
  vocabularySize: 261,
  padId: 257,
  clsId: 258,
  sepId: 259,
  maskId: 260,
  specialIds: new Set([256, 257, 258, 259, 260]),
  encode: (text) => bytes.encode(text),
  decode: (ids) => bytes.decode(ids),
};
const text = 'abcdefghij'.repeat(400);
const dataset = maskedDocuments([{ text: 'short' }, { text }], tokenizer, { length: 66, seed: 4 });
const visits = Array.from({ length: dataset.rows }, (_, row) => ({ row, epoch: 0 }));

describe('maskedDocuments', () => {
  it('hides about 15 % of the tokens, 80 % of them behind the mask and 10 % behind another, special ones never', () => {
    const { tokens, labels, weights, mask } = dataset.batch(visits);
    let chosen = 0;
    let masked = 0;
    let replaced = 0;
    let words = 0;
    for (let i = 0; i < labels.data.length; i++) {
      const isWord = labels.data[i] < 256;
      if (isWord) words++;
      if (!isWord) expect([tokens.data[i], weights.data[i]]).toEqual([labels.data[i], 0]);
      expect(mask.data[i]).toBe(labels.data[i] === 257 ? 0 : 1);
      if (weights.data[i] === 0) {
        expect(tokens.data[i]).toBe(labels.data[i]);
        continue;
      }
      chosen++;
      if (tokens.data[i] === 260) masked++;
      else {
        expect(tokens.data[i]).toBeLessThan(256);
        if (tokens.data[i] !== labels.data[i]) replaced++;
      }
    }
    expect(words).toBe(text.length + 5);
    expect(chosen / words).toBeGreaterThan(0.13);
    expect(chosen / words).toBeLessThan(0.17);
    expect(masked / chosen).toBeGreaterThan(0.75);
    expect(masked / chosen).toBeLessThan(0.85);
    expect(replaced / chosen).toBeGreaterThan(0.06);
    expect(replaced / chosen).toBeLessThan(0.14);
  });

  it('draws by seed, pass and row alone, and always hides something', () => {
    const again = maskedDocuments([{ text: 'short' }, { text }], tokenizer, { length: 66, seed: 4 });
    expect(again.batch(visits)).toEqual(dataset.batch(visits));
    expect(again.fingerprint()).toBe(dataset.fingerprint());
    expect(dataset.batch([visits[3]]).tokens.data).toEqual(dataset.batch(visits).tokens.data.subarray(3 * 66, 4 * 66));
    const later = visits.map(({ row }) => ({ row, epoch: 1 }));
    expect(dataset.batch(later).tokens).not.toEqual(dataset.batch(visits).tokens);
    const tiny = maskedDocuments([{ text: 'a' }], tokenizer, { length: 8, seed: 1 });
    for (let epoch = 0; epoch < 20; epoch++) {
      expect([...tiny.batch([{ row: 0, epoch }]).weights.data]).toEqual([0, 1, 0, 0, 0, 0, 0, 0]);
    }
  });

  it('needs the special tokens of an encoder, or ids that stand for them at the end of the vocabulary', () => {
    expect(() => maskedDocuments([{ text }], bytes, { length: 8, seed: 1 })).toThrow(/CLS, SEP and mask/);
    expect(maskingIds(tokenizer, 1000)).toEqual({ cls: 258, sep: 259, mask: 260 });
    expect(maskingIds(bytes, bytes.vocabularySize + 2)).toBeUndefined();
    const ids = maskingIds(bytes, 300);
    expect(ids).toEqual({ cls: 297, sep: 298, mask: 299 });
    const { labels } = maskedDocuments([{ text: 'ab' }], bytes, { length: 4, seed: 1, ids }).batch([visits[0]]);
    expect([...labels.data]).toEqual([297, 97, 98, 298]);
  });
});
