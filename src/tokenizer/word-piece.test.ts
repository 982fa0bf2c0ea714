import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { LinnetError } from '../errors.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import { loadTokenizer } from './tokenizer.ts';
import { wordPieceJson } from './word-piece.ts';

const pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'bird', '##s', 'sing', '##ing', ',', '.', '['];
pieces.push(']', 'mask', '日');
const vocabulary = `${pieces.join('\n')}\n`;
const special = { padId: 0, clsId: 2, sepId: 3, maskId: 4 };

/** As the tokenizers library writes BERT's. */
const tokenizerJson = {
  version: '1.0',
  added_tokens: pieces.slice(0, 5).map((content, id) => ({ id, content, special: true, normalized: false })),
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
  },
};

describe('a tokenizer.json of type WordPiece', () => {
  const tokenizer = huggingFaceTokenizer({ tokenizerJson });

  it('cuts words into pieces, longest first, in lower case and without accents', () => {
    expect([...tokenizer.encode('The birds, singing.')]).toEqual([5, 6, 7, 10, 8, 9, 11]);
    expect([...tokenizer.encode('thé BÏRD')]).toEqual([5, 6]);
    expect([...tokenizer.encode('日bird')]).toEqual([15, 6]);
    expect([...tokenizer.encode('the owls sing')]).toEqual([5, 1, 8]);
    expect([...tokenizer.encode('')]).toEqual([]);
  });

  it('knows the special tokens by the names that BERT has for them', () => {
    expect(tokenizer).toMatchObject({ ...special, vocabularySize: 16 });
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([undefined, undefined]);
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2, 3, 4]);
  });

  it('knows them by other names, or not at all, where tokenizer_config.json says so', () => {
    const named = huggingFaceTokenizer({ tokenizerJson, tokenizerConfigJson: { mask_token: 'bird', pad_token: null } });
    expect(named).toMatchObject({ clsId: 2, sepId: 3, maskId: 6 });
    expect(named.padId).toBeUndefined();
  });

  it('makes none of them out of a text', () => {
    expect([...tokenizer.encode('[MASK]')]).toEqual([12, 14, 13]);
    expect([...tokenizer.encode('the [SEP] bird')]).toEqual([5, 12, 1, 13, 6]);
  });

  it('decodes whole words', () => {
    expect(tokenizer.decode([2, 5, 6, 7, 8, 9, 3, 0])).toBe('the birds singing');
  });
});

describe('vocab.txt', () => {
  const folder = suiteFolder();
  beforeAll(async () => {
    await writeFile(join(folder, 'vocab.txt'), vocabulary);
  });
  const configure = (name: string, value: object): Promise<void> =>
    writeFile(join(folder, name), JSON.stringify(value));

  it('is read in the folder of a BERT, as its tokenizer.json would be', async () => {
    await expect(loadTokenizer(folder)).rejects.toThrow(/no tokenizer.json/);
    await configure('config.json', { model_type: 'bert' });
    const tokenizer = await loadTokenizer(folder);
    const whole = huggingFaceTokenizer({ tokenizerJson });
    expect(tokenizer).toMatchObject({ ...special, vocabularySize: 16 });
    for (const text of ['The birds, singing.', 'thé BÏRD', '日bird', '[MASK]', 'the owls sing']) {
      expect(tokenizer.encode(text), text).toEqual(whole.encode(text));
      expect(tokenizer.decode(tokenizer.encode(text)), text).toBe(whole.decode(whole.encode(text)));
    }
  });

  it('keeps case where tokenizer_config.json says so', async () => {
    await configure('tokenizer_config.json', { tokenizer_class: 'BertTokenizer', do_lower_case: false });
    const tokenizer = await loadTokenizer(folder);
    expect([...tokenizer.encode('The bird thé')]).toEqual([1, 6, 1]);
  });

  it('is not read for another tokenizer', async () => {
    await configure('tokenizer_config.json', { tokenizer_class: 'EsmTokenizer' });
    await expect(loadTokenizer(folder)).rejects.toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });

  it.each([
    ['nothing', '', /no tokens/],
    ['a token that is there twice', '[UNK]\nthe\nthe\n', /"the" twice/],
    ['no unknown token', 'the\nbird\n', /no token "\[UNK\]"/],
    ['bytes that are not UTF-8', Uint8Array.of(0x61, 0xff), /not UTF-8/],
  ])('is refused with %s', (_, contents, message) => {
    const bytes = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents;
    expect(() => wordPieceJson(bytes, {}, 'vocab.txt')).toThrow(message);
    expect(() => wordPieceJson(bytes, {}, 'vocab.txt')).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });

  it('gives ids of the vocabulary for any text, or a typed error for any file', () => {
    const any = fc.uint8Array({ maxLength: 60 });
    const line = fc.string({ unit: 'grapheme', maxLength: 4 });
    const lines = fc.array(line, { maxLength: 12 }).map((all) => new TextEncoder().encode(`[UNK]\n${all.join('\n')}`));
    const text = fc.string({ unit: 'grapheme', maxLength: 30 });
    fc.assert(
      fc.property(fc.oneof(any, lines), text, (bytes, input) => {
        try {
          const tokenizer = huggingFaceTokenizer({ tokenizerJson: wordPieceJson(bytes, {}, 'vocab.txt') });
          for (const id of tokenizer.encode(input)) expect(id).toBeLessThan(tokenizer.vocabularySize);
        } catch (error) {
          if (!(error instanceof LinnetError)) throw error;
        }
      }),
      { seed: 1 },
    );
  });
});
