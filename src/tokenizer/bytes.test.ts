import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteTokenizer, byteTokenizerFiles } from './bytes.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';

const text = fc.string({ unit: 'binary', maxLength: 30 });

describe('the byte tokenizer', () => {
  const bytes = byteTokenizer();
  const loaded = huggingFaceTokenizer(byteTokenizerFiles());

  it('has one token a byte', () => {
    expect([...bytes.encode('aé', { bos: true })]).toEqual([256, 0x61, 0xc3, 0xa9]);
    expect(bytes.decode([256, 0x61, 0xc3, 0xa9, 257, 300])).toBe('aé');
    expect(() => bytes.decode([-1])).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });

  it('is the same tokenizer in its serialised form', () => {
    expect(loaded).toMatchObject({ vocabularySize: 258, bosId: 256, eosId: 257 });
    expect(loaded.specialIds).toEqual(bytes.specialIds);
    fc.assert(
      fc.property(text, (s) => {
        expect(loaded.encode(s, { bos: true })).toEqual(bytes.encode(s, { bos: true }));
      }),
      { seed: 2 },
    );
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 257 }), { maxLength: 12 }), (ids) => {
        expect(loaded.decode(ids)).toBe(bytes.decode(ids));
      }),
      { seed: 3 },
    );
  });

  it('round-trips all well-formed text', () => {
    fc.assert(
      fc.property(text, (s) => {
        expect(bytes.decode(bytes.encode(s))).toBe(s);
      }),
      { seed: 4 },
    );
    expect(bytes.decode(bytes.encode('\ufeffmark'))).toBe('\ufeffmark');
  });
});
